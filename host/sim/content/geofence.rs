//! The feed `geofence`: clients enter a zone, stay, and leave it for another. Tags do not: their case
//! of the message is documented, but the vendor's released client reads it as nothing, and what it
//! reads is to equal the ledger. Key type: [`GeofenceFeed`].

use super::rng::key;
use super::{Feed, Moment, Rng, Stage, message, put, set};
use crate::decode::proto::network_services::geofence::v1alpha1::{
    StreamGeofenceMessage, WifiClientGeofence, stream_geofence_message, wifi_client_geofence,
};
use stream_geofence_message::GeofenceEvent;

/// Whoever crosses borders.
struct Mover {
    zones: Vec<String>,
    /// Where it is, and since when, in milliseconds since the world began.
    zone: Option<usize>,
    since: u64,
    message: StreamGeofenceMessage,
}

/// Everyone who crosses borders.
pub(super) struct GeofenceFeed {
    rng: Rng,
    clients: Vec<Mover>,
}

impl GeofenceFeed {
    pub fn new(stage: Stage) -> Self {
        let mover = |site: usize, event| Mover {
            zones: stage.world.sites[site].zones.clone(),
            zone: None,
            since: 0,
            message: StreamGeofenceMessage { geofence_event: Some(event) },
        };
        let clients = stage.world.clients.iter().map(|client| {
            let ap = &stage.world.aps[client.ap];
            let hash = [key(1, &client.mac), key(2, &client.mac), key(3, &client.mac)];
            mover(
                client.site,
                GeofenceEvent::WifiClientGeofence(message!(WifiClientGeofence {
                    zone_id: "",
                    sta_eth_mac: client.mac.as_str(),
                    assoc_bssid: ap.radios[1].bssids[client.ssid].as_str(),
                    hashed_sta_eth_mac: hash.map(|part| format!("{part:016x}")).concat(),
                })),
            )
        });
        GeofenceFeed { rng: stage.rng, clients: clients.collect() }
    }
}

impl Feed for GeofenceFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        let at = self.rng.index(self.clients.len());
        self.clients[at].cross(&mut self.rng, now);
        put(&self.clients[at].message, out);
        0
    }
}

impl Mover {
    /// Leaves the zone it is in, or enters one.
    fn cross(&mut self, rng: &mut Rng, now: &Moment) {
        let leaves = self.zone.take();
        let zone = leaves.unwrap_or_else(|| rng.index(self.zones.len()));
        let dwell = leaves.map_or(0, |_| ((now.elapsed() - self.since) / 1_000) as u32);
        if leaves.is_none() {
            (self.zone, self.since) = (Some(zone), now.elapsed());
        }
        if let Some(GeofenceEvent::WifiClientGeofence(event)) = &mut self.message.geofence_event {
            use wifi_client_geofence::EventType;
            let ty = if leaves.is_some() { EventType::Exit } else { EventType::Enter };
            set(&mut event.zone_id, &self.zones[zone]);
            event.event_type = Some(ty as i32);
            event.dwell_time_in_seconds = Some(dwell);
        }
    }
}
