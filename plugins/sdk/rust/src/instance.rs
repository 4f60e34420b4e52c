//! The one plugin value that an instance holds, and the functions of `lifecycle`, which are the
//! same for every role. Used by the macros only.

use std::cell::RefCell;
use std::sync::Once;

use crate::log;
use crate::plugin::Plugin;
use crate::raw::lifecycle::{Description, Wants};

/// Holds the plugin from `configure` on.
#[derive(Debug)]
pub struct Instance<T>(RefCell<Option<T>>);

impl<T: Plugin> Instance<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// `lifecycle.configure`.
    pub fn configure(&self, config: &str) -> Result<Wants, String> {
        tell_panics();
        let config: T::Config = serde_json::from_str(config).map_err(without_place)?;
        let plugin = T::configure(config)?;
        let wants = plugin.wants();
        *self.0.borrow_mut() = Some(plugin);
        Ok(wants)
    }

    /// Calls a function of the role.
    #[expect(
        clippy::expect_used,
        reason = "the host configures an instance before its first event"
    )]
    pub fn call<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(self.0.borrow_mut().as_mut().expect("a call before `configure`"))
    }
}

impl<T: Plugin> Default for Instance<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// `lifecycle.describe`.
pub fn describe<T: Plugin>() -> Description {
    tell_panics();
    T::describe()
}

/// The message of a panic does not reach the host by itself: all it sees is a trap. So it is logged
/// first.
fn tell_panics() {
    static HOOK: Once = Once::new();
    if cfg!(target_arch = "wasm32") {
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        });
    }
}

/// Line and column mean nothing to somebody who wrote another format: the host makes one line of
/// JSON of it.
fn without_place(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// Ties a plugin to `lifecycle` and to one role, whose exports the role's own macro gives.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($plugin:ty, $role:ident, { $($exports:tt)* }) => {
        #[allow(
            unsafe_code,
            dead_code,
            clippy::allow_attributes,
            reason = "generated glue, exported to the host only"
        )]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: $crate::instance::Instance<$plugin> =
                    const { $crate::instance::Instance::new() };
            }

            struct Guest;

            impl $crate::raw::lifecycle::Guest for Guest {
                fn describe() -> $crate::raw::lifecycle::Description {
                    $crate::instance::describe::<$plugin>()
                }
                fn configure(
                    config: ::std::string::String,
                ) -> ::std::result::Result<$crate::raw::lifecycle::Wants, ::std::string::String> {
                    INSTANCE.with(|instance| instance.configure(&config))
                }
            }

            $($exports)*

            // Elsewhere the exported names mean nothing, and some linkers choke on the `@` in them.
            #[cfg(target_arch = "wasm32")]
            $crate::raw::base::export!(Guest with_types_in $crate::raw::base);
            #[cfg(target_arch = "wasm32")]
            $crate::raw::$role::export!(Guest with_types_in $crate::raw::$role);
        };
    };
}
