//! Takes instances and versions apart on a thread of its own: giving their memory and code back to
//! the system takes longer than a pipeline should stand still. Key type: [`Retirement`].

use std::sync::mpsc::{SyncSender, sync_channel};

use crate::thread::lower_priority;

/// Most that wait. What comes beyond is taken apart where it is.
const ROOM: usize = 64;

/// The way to that thread, which ends when the last of these is gone.
#[derive(Debug, Clone)]
pub(super) struct Retirement(SyncSender<Box<dyn Send>>);

impl Retirement {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, retired) = sync_channel::<Box<dyn Send>>(ROOM);
        std::thread::Builder::new().name("retire".to_owned()).spawn(move || {
            lower_priority();
            retired.into_iter().for_each(drop);
        })?;
        Ok(Retirement(sender))
    }

    /// Drops a value over there.
    pub(super) fn take(&self, value: impl Send + 'static) {
        // Full, or stopped: it comes back in the error, and goes here.
        let _ = self.0.try_send(Box::new(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::ThreadId;

    struct Tells(Sender<ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[test]
    fn everything_is_dropped_and_not_here() {
        let retirement = Retirement::start().unwrap();
        let (tell, told) = channel();
        retirement.take(Tells(tell));
        assert_ne!(told.recv().unwrap(), std::thread::current().id());
    }
}
