//! Every metric there is: its name, labels and meaning. docs/metrics.md is this list, and a test holds
//! the two and the live page together. Key type: [`Family`].

use prometheus_client::metrics::MetricType;

/// A metric. Names of counters stand here without `_total`, which the text format adds.
pub(super) struct Family {
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: Family = Family {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order of the page.
        pub(super) const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD: Gauge "trommel_build_info" ["version"] "Always 1; says which build this is.";

    RECEIVED: Counter "trommel_received" ["pipeline"] "Frames that came in.";
    DELIVERED: Counter "trommel_delivered" ["pipeline"]
        "Frames whose events every export plugin and sink took.";
    FILTERED: Counter "trommel_filtered" ["pipeline"] "Frames whose way a plugin ended.";
    DEAD_LETTERED: Counter "trommel_dead_lettered" ["pipeline"]
        "Frames that are dead letters, as a whole or in part.";
    IN_FLIGHT: Gauge "trommel_in_flight" ["pipeline"] "Frames that are received and not settled.";
    DEAD_LETTERS: Counter "trommel_dead_letters" ["pipeline", "reason"]
        "Dead letters written. Those of alert plugins are not in the tally: their events go on.";
    REDRIVEN: Counter "trommel_redriven" ["pipeline"]
        "Dead letters that were taken again. They count as received again.";
    HELD: Gauge "trommel_pipeline_held" ["pipeline"]
        "1 while the pipeline cannot begin or go on: a plugin is not there, or what the journal holds is being counted.";
    BATCHES: Counter "trommel_batches" ["pipeline"] "Batches that were settled.";
    LATENCY: Histogram "trommel_event_to_sink_seconds" ["pipeline"]
        "From the read of a frame off the wire to the end of its batch's delivery, once per frame.";
    PAUSES: Histogram "trommel_reload_pause_seconds" ["pipeline"]
        "How long the pipeline stood still each time a new version of a plugin took effect.";
    QUEUE_EVENTS: Gauge "trommel_queue_events" ["pipeline"]
        "Events that wait for the pipeline.";
    QUEUE_EVENTS_LIMIT: Gauge "trommel_queue_events_limit" ["pipeline"]
        "The most events that wait; beyond it the source waits.";
    QUEUE_BYTES: Gauge "trommel_queue_bytes" ["pipeline"]
        "Bytes that wait for the pipeline, in steps of 1 KiB.";
    QUEUE_BYTES_LIMIT: Gauge "trommel_queue_bytes_limit" ["pipeline"]
        "The most bytes that wait; beyond it the source waits.";

    STREAM_STATE: Gauge "trommel_stream_state" ["source", "stream", "state"]
        "1 for the state that the stream is in, 0 for all others.";
    STREAM_SINCE: Gauge "trommel_stream_state_timestamp_seconds" ["source", "stream"]
        "When the stream came into its state, in seconds since 1970.";
    STREAM_LAST: Gauge "trommel_stream_last_event_timestamp_seconds" ["source", "stream"]
        "When the last frame was read, in seconds since 1970; 0 for never.";
    STREAM_SILENT: Gauge "trommel_stream_seconds_since_last_event" ["source", "stream"]
        "Time since the last frame was read; since the host started where there was none yet.";
    STREAM_FRAMES: Counter "trommel_stream_frames" ["source", "stream"]
        "Frames that the stream brought, duplicates included.";
    STREAM_BYTES: Counter "trommel_stream_bytes" ["source", "stream"] "Bytes of these frames.";
    STREAM_CONNECTIONS: Counter "trommel_stream_connections" ["source", "stream"]
        "Connections that came about.";
    STREAM_FAILURES: Counter "trommel_stream_failures" ["source", "stream"]
        "Tries to connect that failed.";
    STREAM_GAPS: Counter "trommel_stream_gaps" ["source", "stream"]
        "Times when a connection was ended before another could take its place.";
    GAPS: Counter "trommel_gaps" ["source", "stream", "reason"]
        "Gaps that began: nobody knows what was sent until the next event.";
    GAP_OPEN: Gauge "trommel_gap_open" ["source", "stream"]
        "1 while a gap lasts: from its begin to the next event.";
    DUPLICATES: Counter "trommel_duplicates" ["source", "stream"]
        "Frames dropped because another connection of the stream had brought the same.";
    CONFLICTS: Counter "trommel_stream_conflicts" ["source", "stream"]
        "Frames kept although another connection had brought their id, for their bytes differ.";

    PLUGIN_LOADED: Gauge "trommel_plugin_loaded" ["plugin", "version", "sha256", "role"]
        "Always 1; says which version of the plugin serves.";
    PLUGIN_STATE: Gauge "trommel_plugin_state" ["plugin", "state"]
        "1 for the state of the newest version of the plugin's file: serving, compiling or failed.";
    PLUGIN_CALLS: Counter "trommel_plugin_calls" ["pipeline", "plugin"]
        "Calls of the plugin: batches, parts of batches that failed, ticks of alert plugins.";
    PLUGIN_EVENTS: Counter "trommel_plugin_events" ["pipeline", "plugin"]
        "Events that the plugin was called with; those of a failed call come again.";
    PLUGIN_SECONDS: Histogram "trommel_plugin_call_seconds" ["pipeline", "plugin"]
        "How long calls took; what an export plugin waits for is in it.";
    PLUGIN_FAILURES: Counter "trommel_plugin_failures" ["pipeline", "plugin", "reason"]
        "Calls that failed: trap, timeout, limit, or an answer that did not fit.";
    PLUGIN_INSTANCES: Gauge "trommel_plugin_instances" ["plugin"]
        "Instances of the version that serves, those kept ready included.";
    PLUGIN_MEMORY: Gauge "trommel_plugin_memory_bytes" ["plugin"]
        "Linear memory of all these instances together.";
    PLUGIN_MEMORY_LIMIT: Gauge "trommel_plugin_memory_limit_bytes" ["plugin"]
        "The most linear memory that one instance may have.";
    PLUGIN_COUNTER: Counter "trommel_plugin_counter" ["plugin", "name"]
        "Counters that plugins keep of their own, under the names they chose; new with each version.";
    PLUGIN_GAUGE: Gauge "trommel_plugin_gauge" ["plugin", "name"]
        "Gauges that plugins set, under the names they chose; new with each version.";
    RELOADS: Counter "trommel_reloads" ["result"]
        "What became of files in the plugin directory: loaded, failed or removed.";

    SINK_SECONDS: Histogram "trommel_sink_write_seconds" ["sink"]
        "How long writes of a batch took, failed ones too.";
    SINK_RETRIES: Counter "trommel_sink_retries" ["sink"]
        "Writes that failed and were tried again.";
    SINK_FAILING: Gauge "trommel_sink_failing" ["sink"]
        "1 while the sink fails and a pipeline waits for it.";

    DISK_FAILING: Gauge "trommel_disk_failing" ["what"]
        "1 while this cannot be written, and what is to be written waits: journal, store, dead-letters.jsonl, alerts.jsonl.";

    JOURNAL_BYTES: Gauge "trommel_journal_bytes" []
        "Size of the journal on disk, without segments made ahead; 0 where there is none.";
    JOURNAL_LIMIT: Gauge "trommel_journal_bytes_limit" []
        "The most that the journal may hold; 0 where there is none.";
    JOURNAL_SEGMENTS: Gauge "trommel_journal_segments" [] "Segments of the journal.";
    JOURNAL_FULL: Gauge "trommel_journal_full" []
        "1 while the journal is full of what a pipeline has not taken, and sources wait.";
    STORE_BYTES: Gauge "trommel_store_bytes" []
        "Size of the store on disk: cursors, state, dead letters, gaps.";
    DEAD_LETTERS_STORED: Gauge "trommel_dead_letters_stored" []
        "Dead letters in the store that nobody is done with.";

    CONFIG_RELOADS: Counter "trommel_config_reloads" ["result"]
        "Times that the configuration was read again: applied, unchanged, or failed, and then all goes on as before.";

    ALERTS: Gauge "trommel_alerts_raised" [] "Alerts that are raised.";

    CPU: Counter "process_cpu_seconds" [] "Time on processors, user and system, in seconds.";
    RESIDENT: Gauge "process_resident_memory_bytes" [] "Memory in use.";
    VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Address space.";
    THREADS: Gauge "process_threads" [] "Threads.";
    OPEN_FDS: Gauge "process_open_fds" [] "Files, sockets and the like that are open.";
    MAX_FDS: Gauge "process_max_fds" [] "The most of them that may be open.";
    START: Gauge "process_start_time_seconds" []
        "When the process was started, in seconds since 1970.";
}

/// Whether a name is that of a counter.
pub(super) fn is_counter(name: &str) -> bool {
    ALL.iter().any(|family| family.name == name && matches!(family.kind, MetricType::Counter))
}
