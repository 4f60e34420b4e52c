//! What a host keeps when it is killed, when calls fail and when the power goes. `library` tests the
//! preloaded library by which this is done.

mod library;
mod preload;
