//! The feed `location`: clients and tags walk about their floors. Key type: [`LocationFeed`].

use super::{Feed, Moment, Rng, Stage, message, put, set};
use crate::decode::proto::network_services::location::v1alpha1::{
    AssetTagLocation, StreamLocationMessage, WifiClientLocation, ZoneEntry, stream_location_message,
};
use stream_location_message::LocationEvent;

/// Size of a floor in centimetres.
const FLOOR: (i64, i64) = (6_000, 4_000);

/// Metres of a degree of latitude.
const DEGREE: f64 = 111_320.0;

/// Whoever is located.
struct Walker {
    x: i64,
    y: i64,
    latitude: f64,
    longitude: f64,
    /// Since when it is in its zone, in milliseconds since the world began.
    since: u64,
    zones: Vec<String>,
    message: StreamLocationMessage,
}

/// Everyone who is located.
pub(super) struct LocationFeed {
    rng: Rng,
    clients: Vec<Walker>,
    tags: Vec<Walker>,
    step: usize,
}

impl LocationFeed {
    pub fn new(mut stage: Stage) -> Self {
        let clients = (0..stage.world.clients.len()).map(|n| client(&mut stage, n)).collect();
        let tags = (0..stage.world.tags.len()).map(|n| tag(&mut stage, n)).collect();
        LocationFeed { rng: stage.rng, clients, tags, step: 0 }
    }
}

impl Feed for LocationFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        self.step += 1;
        let kind = usize::from(self.step.is_multiple_of(4));
        let walkers = if kind == 0 { &mut self.clients } else { &mut self.tags };
        let at = self.step % walkers.len();
        let walker = &mut walkers[at];
        walker.walk(&mut self.rng, now);
        put(&walker.message, out);
        kind
    }
}

impl Walker {
    fn walk(&mut self, rng: &mut Rng, now: &Moment) {
        let zone = self.zone();
        self.x = rng.walk(self.x, 250, 0, FLOOR.0);
        self.y = rng.walk(self.y, 250, 0, FLOOR.1);
        if self.zone() != zone {
            self.since = now.elapsed();
        }
        let (x, y) = (self.x as f64 / 100.0, self.y as f64 / 100.0);
        // Seven digits are a centimetre.
        let degrees = |base: f64, metres: f64| ((base + metres / DEGREE) * 1e7).round() / 1e7;
        let (longitude, latitude) = (degrees(self.longitude, x), degrees(self.latitude, -y));
        let zone = self.zone();
        let dwell = ((now.elapsed() - self.since) / 1_000) as u32;
        let entered = match &mut self.message.location_event {
            Some(LocationEvent::WifiClientLocation(place)) => {
                (place.x, place.y) = (Some(x), Some(y));
                (place.longitude, place.latitude) = (Some(longitude), Some(latitude));
                place.error_level = Some(2.0 + rng.below(64) as f64 / 8.0);
                &mut place.entered_zone_info
            }
            Some(LocationEvent::AssetTagLocation(place)) => {
                (place.x, place.y) = (Some(x), Some(y));
                (place.longitude, place.latitude) = (Some(longitude), Some(latitude));
                let hours = now.elapsed() as f64 / 3_600_000.0;
                place.battery_level = Some((99.0 - hours * 0.01).max(5.0).round());
                &mut place.entered_zone_info
            }
            None => return,
        };
        if let Some(entry) = entered.first_mut() {
            set(&mut entry.zone_id, &self.zones[zone]);
            entry.dwell_time_in_seconds = Some(dwell);
        }
    }

    /// A floor has its zones side by side.
    fn zone(&self) -> usize {
        (self.x as usize * self.zones.len() / (FLOOR.0 as usize + 1)).min(self.zones.len() - 1)
    }
}

fn walker(stage: &mut Stage, site: usize, event: LocationEvent) -> Walker {
    let site = &stage.world.sites[site];
    Walker {
        x: i64::from(stage.rng.between(0, FLOOR.0 as u32)),
        y: i64::from(stage.rng.between(0, FLOOR.1 as u32)),
        latitude: site.latitude,
        longitude: site.longitude,
        since: 0,
        zones: site.zones.clone(),
        message: StreamLocationMessage { location_event: Some(event) },
    }
}

fn client(stage: &mut Stage, number: usize) -> Walker {
    let client = &stage.world.clients[number];
    let (site, ap) = (&stage.world.sites[client.site], &stage.world.aps[client.ap]);
    let mut place = message!(WifiClientLocation {
        sta_eth_mac: client.mac.as_str(),
        site_id: site.id.as_str(),
        building_id: site.building.as_str(),
        floor_id: site.floor.as_str(),
        associated: true,
        assoc_bssid: ap.radios[1].bssids[client.ssid].as_str(),
        connected: true,
    });
    let aps = &stage.world.aps[site.aps.clone()];
    place.reporting_ap_serial = aps.iter().take(3).map(|ap| ap.serial.clone()).collect();
    place.entered_zone_info = vec![ZoneEntry::default()];
    let site = client.site;
    walker(stage, site, LocationEvent::WifiClientLocation(place))
}

fn tag(stage: &mut Stage, number: usize) -> Walker {
    let tag = &stage.world.tags[number];
    let site = &stage.world.sites[tag.site];
    let mut place = message!(AssetTagLocation {
        device_id: tag.device_id.as_str(),
        device_mac: tag.mac.as_str(),
        site_id: site.id.as_str(),
        building_id: site.building.as_str(),
        floor_id: site.floor.as_str(),
        name: tag.name.as_str(),
        custom_id: format!("asset-{:04}", 1_000 + number),
        notes: "simulated",
    });
    place.label = vec!["moving".into(), site.name.into()];
    place.entered_zone_info = vec![ZoneEntry::default()];
    let site = tag.site;
    walker(stage, site, LocationEvent::AssetTagLocation(place))
}
