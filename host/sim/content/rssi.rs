//! The feed `rssi-events`: how loud the access points hear the clients. Key type: [`RssiFeed`].

use super::world::World;
use super::{Feed, Moment, Stage, message, put};
use crate::decode::proto::network_services::location_analytics::v1alpha1::{
    ClientRssi, FirmwareVersion, RssiEvent,
};

/// Readings of each client by each access point of its site, as heard and as proximity.
pub(super) struct RssiFeed {
    stage: Stage,
    readings: Vec<(usize, [RssiEvent; 2])>,
    step: usize,
}

impl RssiFeed {
    pub fn new(stage: Stage) -> Self {
        let world = &stage.world;
        let clients = 0..world.clients.len();
        let readings = clients.flat_map(|client| {
            let aps = world.sites[world.clients[client].site].aps.clone();
            aps.take(3).map(move |ap| (ap, events(world, client, ap)))
        });
        let readings = readings.collect();
        RssiFeed { stage, readings, step: 0 }
    }
}

impl Feed for RssiFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        while self.stage.calendar.due(now.elapsed()).is_some() {}
        // An access point that is down hears nobody; one of each site is always up.
        for _ in 0..self.readings.len() {
            self.step = (self.step + 1) % self.readings.len();
            if !self.stage.calendar.is_down(self.readings[self.step].0) {
                break;
            }
        }
        let bits = self.stage.rng.any();
        let kind = usize::from(bits.is_multiple_of(3));
        let event = &mut self.readings[self.step].1[kind];
        for reading in [&mut event.raw_rssi, &mut event.proximity_rssi].into_iter().flatten() {
            let old = i64::from(reading.rssi_val.unwrap_or(-60));
            reading.rssi_val = Some(self.stage.rng.walk(old, 3, -92, -38) as i32);
            reading.age = Some((bits >> 8 & 15) as u32);
            reading.noise_floor = Some(92 + (bits >> 16 & 3) as u32);
        }
        put(event, out);
        kind
    }
}

fn events(world: &World, client: usize, ap: usize) -> [RssiEvent; 2] {
    let reading = reading(world, client, ap);
    let firmware = Some(FirmwareVersion::Client10xRssi as i32);
    [
        RssiEvent {
            firmware_version: firmware,
            raw_rssi: Some(reading.clone()),
            proximity_rssi: None,
        },
        RssiEvent { firmware_version: firmware, raw_rssi: None, proximity_rssi: Some(reading) },
    ]
}

fn reading(world: &World, client: usize, ap: usize) -> ClientRssi {
    let (client, ap, home) =
        (&world.clients[client], &world.aps[ap], &world.aps[world.clients[client].ap]);
    let radio = &ap.radios[1];
    message!(ClientRssi {
        client_mac: client.mac.as_str(),
        ap_serial: ap.serial.as_str(),
        ap_mac: ap.mac.as_str(),
        radio_mac: radio.mac.as_str(),
        rssi_val: if ap.serial == home.serial { -52 } else { -71 },
        associated: ap.serial == home.serial,
        assoc_bssid: home.radios[1].bssids[client.ssid].as_str(),
        ap_ip: ap.ip.as_str(),
        ap_name: ap.name.as_str(),
    })
}
