//! Threads that must not take the processor from the pipelines. Key function: [`lower_priority`].

/// Lowers the priority of the thread that calls; on Linux of it alone.
pub fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), 10) {
        tracing::debug!(%error, "the priority of a thread stays as it is");
    }
}
