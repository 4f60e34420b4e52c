//! What both benches work on: payloads as they come in numbers, recorded frames, batches for plugins.

use prost::Message as _;
use trommel::batch::{Batch, NewRow, Payload};
use trommel::columns::Span;
use trommel::decode::catalog::Stream;
use trommel::decode::proto;
use trommel::frame::Frame;
use trommel::sim::central::frames;

/// Frames of a stream, and what they are in words.
pub fn recorded(name: &str, count: u64) -> (Vec<Frame>, String) {
    let stream = Stream::named(name).unwrap();
    let recorded: Vec<Frame> = frames(stream, 1, count).map(Frame::binary).collect();
    let bytes: usize = recorded.iter().map(|frame| frame.bytes.len()).sum();
    let about = format!("{name} of {} B", bytes / recorded.len());
    (recorded, about)
}

/// Payloads as they come in numbers: 75 B of an audit trail, 32 B of an access point's figures.
pub fn payloads() -> [(&'static str, &'static str, Vec<u8>); 2] {
    let audit = proto::audittrail::AuditTrail {
        tenant_id: "8e3f1c52a7b94d06".to_owned(),
        occurred_on: 1_763_700_000_123,
        action: "UPDATE".to_owned(),
        category: "Configuration".to_owned(),
        destination_name: "branch-17-ap-3".to_owned(),
        ip_address: "10.24.3.17".to_owned(),
        ..Default::default()
    };
    let stat = proto::network_monitoring::ap::v1alpha1::ApSystemStat {
        serial_number: Some("CNDJKSX0".to_owned()),
        timestamp: Some("1763700000".to_owned()),
        cpu_utilization: Some(17.5),
        memory_utilization: Some(54.25),
        ..Default::default()
    };
    [
        ("AuditTrail", "audittrail.AuditTrail", audit.encode_to_vec()),
        ("APSystemStat", "network_monitoring.ap.v1alpha1.APSystemStat", stat.encode_to_vec()),
    ]
}

/// A batch of events with 512 B of JSON each, of the types of a real stream.
pub fn batch(size: usize) -> Batch {
    let mut batch = Batch::default();
    for number in 0..size {
        let mut data =
            format!("{{\"serial_number\":\"CN{number:08}\",\"status\":true,\"filler\":\"");
        let filler = "x".repeat(512 - data.len() - 2);
        data += &(filler + "\"}");
        let bytes = data.into_bytes();
        let at = Span { start: 0, end: bytes.len() as u32 };
        batch.push(&NewRow {
            id: "183fc20d-2948-4301-a9bb-0bd13ff60b62",
            source: "/network-monitoring/ap-events",
            ty: ["com.hpe.greenlake.aps.stats.device", "com.hpe.greenlake.aps.stats.radio"]
                [number % 2],
            subject: "",
            time: None,
            content_type: "application/json",
            schema: "",
            stream: "ap-events",
            extensions: "",
            payload: Payload::Json(at),
        });
        batch.push_frame(Frame::binary(bytes), None);
    }
    batch
}
