//! The simulated estate: a few sites and what stands in them, the same for every stream of a seed.
//! Plain data; what happens in it is in [`super::incidents`] and the feeds. Key type: [`World`].

use std::ops::Range;

use super::rng::Rng;

/// All that there is.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub tenant: String,
    pub sites: Vec<Site>,
    pub aps: Vec<Ap>,
    pub ssids: &'static [Ssid],
    pub clients: Vec<Client>,
    pub switches: Vec<Switch>,
    pub gateways: Vec<Gateway>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone)]
pub(super) struct Site {
    pub name: &'static str,
    pub country: &'static str,
    pub latitude: f64,
    pub longitude: f64,
    pub id: String,
    pub building: String,
    pub floor: String,
    pub zones: Vec<String>,
    pub public_ip: String,
    pub aps: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Ap {
    pub site: usize,
    pub name: String,
    pub serial: String,
    pub mac: String,
    pub model: &'static str,
    pub ip: String,
    pub radios: Vec<Radio>,
    /// The switch it is plugged into, and the port there.
    pub switch: usize,
    pub switch_port: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Radio {
    pub mac: String,
    /// 0 for 2.4 GHz, 1 for 5 GHz, 2 for 6 GHz.
    pub band: usize,
    pub channel: u32,
    /// One for each SSID.
    pub bssids: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ssid {
    pub name: &'static str,
    pub role: &'static str,
    pub vlan: u32,
    pub vlan_name: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    pub site: usize,
    pub mac: String,
    pub name: String,
    pub user: String,
    pub ip: String,
    pub kind: ClientKind,
    pub ssid: usize,
    /// The access point it first joins.
    pub ap: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ClientKind {
    pub name: &'static str,
    pub vendor: &'static str,
    pub system: &'static str,
    pub ssid: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Switch {
    pub site: usize,
    pub name: String,
    pub serial: String,
    pub mac: String,
    pub model: &'static str,
    pub ip: String,
    pub ports: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub site: usize,
    pub name: String,
    pub serial: String,
    pub mac: String,
    pub ip: String,
}

#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub site: usize,
    pub name: String,
    pub device_id: String,
    pub mac: String,
}

/// Name, country, latitude, longitude, number of access points.
const SITES: &[(&str, &str, f64, f64, usize)] = &[
    ("berlin-hq", "DE", 52.5200, 13.4050, 6),
    ("munich-lab", "DE", 48.1374, 11.5755, 5),
    ("lyon-depot", "FR", 45.7640, 4.8357, 4),
    ("graz-plant", "AT", 47.0707, 15.4395, 5),
];

const SSIDS: &[Ssid] = &[
    Ssid { name: "corp", role: "employee", vlan: 10, vlan_name: "office" },
    Ssid { name: "guest", role: "guest", vlan: 20, vlan_name: "guests" },
    Ssid { name: "iot", role: "sensor", vlan: 30, vlan_name: "things" },
    Ssid { name: "voice", role: "phone", vlan: 40, vlan_name: "voice" },
];

const CLIENT_KINDS: &[ClientKind] = &[
    ClientKind { name: "laptop", vendor: "Dell", system: "Windows", ssid: 0 },
    ClientKind { name: "laptop", vendor: "Apple", system: "macOS", ssid: 0 },
    ClientKind { name: "tablet", vendor: "Samsung", system: "Android", ssid: 1 },
    ClientKind { name: "smartphone", vendor: "Apple", system: "iOS", ssid: 1 },
    ClientKind { name: "thermostat", vendor: "Siemens", system: "Embedded", ssid: 2 },
    ClientKind { name: "scanner", vendor: "Zebra", system: "Android", ssid: 2 },
    ClientKind { name: "handset", vendor: "Ascom", system: "Embedded", ssid: 3 },
];

const AP_MODELS: &[&str] = &["AP-635", "AP-655", "AP-735", "AP-515"];

/// Channels of each band.
pub(super) const CHANNELS: [&[u32]; 3] =
    [&[1, 6, 11], &[36, 44, 52, 60, 100, 116, 132, 149], &[5, 21, 37, 53, 69, 85]];

/// Clients for each access point.
const CLIENTS_PER_AP: usize = 4;

/// Ports of each access switch.
pub(super) const SWITCH_PORTS: usize = 12;

impl World {
    /// Builds the world of a seed.
    pub fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "world");
        let mut world = World {
            tenant: hex(rng, 32),
            sites: Vec::new(),
            aps: Vec::new(),
            ssids: SSIDS,
            clients: Vec::new(),
            switches: Vec::new(),
            gateways: Vec::new(),
            tags: Vec::new(),
        };
        for index in 0..SITES.len() {
            world.add_site(rng, index);
        }
        world
    }

    /// The site an access point stands in.
    pub fn site_of(&self, ap: usize) -> &Site {
        &self.sites[self.aps[ap].site]
    }

    fn add_site(&mut self, rng: &mut Rng, index: usize) {
        let (name, country, latitude, longitude, aps) = SITES[index];
        let first = self.aps.len();
        self.sites.push(Site {
            name,
            country,
            latitude,
            longitude,
            id: rng.below(90_000_000_000).saturating_add(10_000_000_000).to_string(),
            building: uuid(rng),
            floor: uuid(rng),
            zones: (0..3).map(|_| uuid(rng)).collect(),
            public_ip: format!("203.0.113.{}", 10 + index),
            aps: first..first + aps,
        });
        self.add_switches(rng, index);
        for number in 0..aps {
            self.add_ap(rng, index, number);
        }
        for number in 0..aps * CLIENTS_PER_AP {
            self.add_client(rng, index, number, first + number % aps);
        }
        self.gateways.push(Gateway {
            site: index,
            name: format!("{name}-gw-01"),
            serial: serial(rng, "CG"),
            mac: mac(rng, [0x00, 0x1a, 0x1e]),
            ip: format!("10.{}.0.1", 20 + index),
        });
        for number in 0..3 {
            self.tags.push(Tag {
                site: index,
                name: format!(
                    "{name}-{}-{:02}",
                    ["forklift", "cart", "cradle"][number],
                    number + 1
                ),
                device_id: uuid(rng),
                mac: mac(rng, [0xd0, 0xcf, 0x5e]),
            });
        }
    }

    /// Two access switches a site: a VSX pair or a stack.
    fn add_switches(&mut self, rng: &mut Rng, site: usize) {
        for number in 0..2 {
            self.switches.push(Switch {
                site,
                name: format!("{}-sw-{:02}", SITES[site].0, number + 1),
                serial: serial(rng, "SG"),
                mac: mac(rng, [0x88, 0x3a, 0x30]),
                model: ["CX 8325-48Y8C", "CX 6300M 24G"][site % 2],
                ip: format!("10.{}.0.{}", 20 + site, 11 + number),
                ports: SWITCH_PORTS,
            });
        }
    }

    fn add_ap(&mut self, rng: &mut Rng, site: usize, number: usize) {
        let base = mac(rng, [0x20, 0x4c, 0x03]);
        let radios = (0..3).map(|band| {
            let mac = mac(rng, [0x20, 0x4c, 0x03]);
            let bssids = (0..SSIDS.len()).map(|n| last_byte(&mac, 0x10 * band + n)).collect();
            let channel = CHANNELS[band][rng.index(CHANNELS[band].len())];
            Radio { mac, band, channel, bssids }
        });
        let radios = radios.collect();
        self.aps.push(Ap {
            site,
            name: format!("{}-ap-{:02}", SITES[site].0, number + 1),
            serial: serial(rng, "CN"),
            mac: base,
            model: AP_MODELS[rng.index(AP_MODELS.len())],
            ip: format!("10.{}.1.{}", 20 + site, 11 + number),
            radios,
            switch: 2 * site + number % 2,
            switch_port: number / 2,
        });
    }

    fn add_client(&mut self, rng: &mut Rng, site: usize, number: usize, ap: usize) {
        let kind = CLIENT_KINDS[rng.index(CLIENT_KINDS.len())];
        let ssid = &SSIDS[kind.ssid];
        self.clients.push(Client {
            site,
            mac: mac(rng, [0x3c, 0x22, 0xfb]),
            name: format!("{}-{:03}", kind.name, 100 * site + number + 1),
            user: format!("{}-{:03}@example.com", ssid.role, 100 * site + number + 1),
            ip: format!("10.{}.{}.{}", 20 + site, ssid.vlan, 20 + number),
            kind,
            ssid: kind.ssid,
            ap,
        });
    }
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[rng.index(16)])).collect()
}

/// A UUID of version 4.
pub(super) fn uuid(rng: &mut Rng) -> String {
    let variant = ["8", "9", "a", "b"][rng.index(4)];
    let [a, b, c, d, e] = [8, 4, 3, 3, 12].map(|digits| hex(rng, digits));
    format!("{a}-{b}-4{c}-{variant}{d}-{e}")
}

fn serial(rng: &mut Rng, prefix: &str) -> String {
    let tail: String =
        (0..8).map(|_| char::from(b"0123456789BCDFGHJKLMNPQRSTVWXYZ"[rng.index(31)])).collect();
    format!("{prefix}{tail}")
}

/// A MAC address of one maker.
pub(super) fn mac(rng: &mut Rng, maker: [u8; 3]) -> String {
    let [a, b, c] = maker;
    let [_, _, _, _, _, x, y, z] = rng.any().to_be_bytes();
    // The last digit is left to count with.
    format!("{a:02x}:{b:02x}:{c:02x}:{x:02x}:{y:02x}:{:02x}", z & 0xf0)
}

fn last_byte(mac: &str, add: usize) -> String {
    let (head, tail) = mac.split_at(mac.len() - 2);
    let value = u8::from_str_radix(tail, 16).unwrap_or(0).wrapping_add(add as u8);
    format!("{head}{value:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_world() {
        assert_eq!(format!("{:?}", World::new(5)), format!("{:?}", World::new(5)));
        assert_ne!(World::new(5).tenant, World::new(6).tenant);
    }

    #[test]
    fn no_two_things_share_a_serial_or_an_address() {
        let world = World::new(1);
        let serials = world.aps.iter().map(|ap| &ap.serial);
        let macs = world.clients.iter().map(|client| &client.mac);
        let bssids = world.aps.iter().flat_map(|ap| &ap.radios).flat_map(|radio| &radio.bssids);
        let all: Vec<_> = serials.chain(macs).chain(bssids).collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len());
    }

    #[test]
    fn each_site_has_three_access_points_to_lose() {
        assert!(World::new(1).sites.iter().all(|site| site.aps.len() >= 4));
    }
}
