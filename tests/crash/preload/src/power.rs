//! How the process ends: killed, or without power. Both can also come from a file that somebody
//! makes, whatever the process does just then.

use std::sync::Once;

use crate::world::{World, with};
use crate::{carry, sys};

/// SIGKILL. What is not synced is still there for the next process, and still not synced.
pub fn kill(world: &mut World) -> ! {
    carry::hand_on(world);
    sys::die();
}

/// Drops what does not survive, then kills.
pub fn lose(world: &mut World) -> ! {
    let (mut dropped, mut pages) = (0, 0);
    for file in world.files.values_mut() {
        let (lost, of) = file.lose(&mut world.coin);
        dropped += lost;
        pages += of;
    }
    let (undone, changes) = world.names.lose(&mut world.coin);
    world.tell(&format!(
        "# power lost: {dropped} of {pages} pages, {undone} of {changes} changes of names\n"
    ));
    sys::die();
}

/// Starts the thread that waits for the file, if there is one to wait for.
pub fn watch_once() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("crash".to_owned());
        if thread.spawn(watch).is_err() {
            sys::give_up("cannot start a thread");
        }
    });
}

fn watch() {
    let Some(Some(awaited)) = with(|world| world.plan.awaited.clone()) else { return };
    let Some(news) = awaited.file.parent().and_then(sys::watch_dir) else {
        sys::give_up("cannot watch for the file that ends it");
    };
    while !sys::exists(&awaited.file) {
        if !sys::wait_for_news(news) {
            sys::give_up("cannot wait for the file that ends it");
        }
    }
    with(|world| if awaited.is_power { lose(world) } else { kill(world) });
}
