//! The feed `wids`: foreign networks near the sites, and attacks recognised by signature. Key type:
//! [`WidsFeed`].

use super::world::mac;
use super::{Feed, Moment, Rng, Stage, message, put, set};
use crate::decode::proto::wids::wids_rules_event::{
    Classification, ClassificationMethod, ContainmentStatus, Encryption,
};
use crate::decode::proto::wids::wids_signatures_event::Category;
use crate::decode::proto::wids::wids_stream_message::Type;
use crate::decode::proto::wids::{
    WidsDetectingDevice, WidsRulesEvent, WidsSignaturesEvent, WidsStreamMessage,
};

/// Network name, classification, encryption, rule.
const FOREIGN: &[(&str, Classification, Encryption, &str)] = &[
    ("coffee-bar", Classification::Interfering, Encryption::Wpa2, "default"),
    ("corp", Classification::Rogue, Encryption::Open, "own-ssid-on-foreign-bssid"),
    ("printer-setup", Classification::SuspectRogue, Encryption::Open, "on-wire"),
    ("neighbour", Classification::KnownInterfering, Encryption::Wpa3, "manual"),
    ("hotspot", Classification::Valid, Encryption::Wpa2, "valid-oui"),
];

/// Kind of event, category, level, description.
const ATTACKS: &[(&str, Category, &str, &str)] = &[
    ("DEAUTH_BROADCAST", Category::Infrastructure, "high", "Deauthentication sent to everyone"),
    ("AP_SPOOFING", Category::Infrastructure, "high", "An access point's address is forged"),
    ("BLOCK_ACK_ATTACK", Category::Client, "medium", "Forged block acknowledgement"),
    ("OMERTA_ATTACK", Category::Client, "medium", "Disassociation with an unusual reason"),
    ("FRAME_RATE_ANOMALY", Category::Client, "low", "Unusually many frames of one kind"),
];

/// What the sensors see.
pub(super) struct WidsFeed {
    rng: Rng,
    serials: Vec<String>,
    foreign: Vec<WidsStreamMessage>,
    attacks: Vec<WidsStreamMessage>,
    step: usize,
}

impl WidsFeed {
    pub fn new(mut stage: Stage) -> Self {
        let networks = 0..FOREIGN.len() * stage.world.sites.len();
        let foreign =
            networks.map(|n| wrap(Type::WidsRulesEvent(foreign(&mut stage, n)))).collect();
        let attacks = 0..ATTACKS.len() * stage.world.sites.len();
        let attacks =
            attacks.map(|n| wrap(Type::WidsSignaturesEvent(attack(&mut stage, n)))).collect();
        let serials = stage.world.aps.iter().map(|ap| ap.serial.clone()).collect();
        WidsFeed { rng: stage.rng, serials, foreign, attacks, step: 0 }
    }
}

impl Feed for WidsFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        self.step += 1;
        let kind = usize::from(self.step.is_multiple_of(3));
        let messages = if kind == 0 { &mut self.foreign } else { &mut self.attacks };
        let at = self.rng.index(messages.len());
        let serial = &self.serials[self.rng.index(self.serials.len())];
        match &mut messages[at].r#type {
            Some(Type::WidsRulesEvent(event)) => {
                let seen = now.millis();
                event.first_seen_ms.get_or_insert(seen);
                event.last_seen_ms = Some(seen);
                set(&mut event.last_det_serial, serial);
                if let Some(device) = event.det_device.first_mut() {
                    set(&mut device.detecting_serial, serial);
                    device.last_seen_ms = Some(seen);
                }
            }
            Some(Type::WidsSignaturesEvent(event)) => {
                set(&mut event.detecting_serial, serial);
                event.event_number = Some(self.step as u32);
            }
            None => {}
        }
        put(&messages[at], out);
        kind
    }
}

fn wrap(event: Type) -> WidsStreamMessage {
    WidsStreamMessage { r#type: Some(event) }
}

fn foreign(stage: &mut Stage, number: usize) -> WidsRulesEvent {
    let site = &stage.world.sites[number % stage.world.sites.len()];
    let (ssid, classification, encryption, rule) = FOREIGN[number / stage.world.sites.len()];
    let contained = match classification {
        Classification::Rogue => ContainmentStatus::Contained,
        _ => ContainmentStatus::UnContained,
    };
    let first = &stage.world.aps[site.aps.start].serial;
    let mut event = message!(WidsRulesEvent {
        site_id: site.id.as_str(),
        bssid: mac(&mut stage.rng, [0x9c, 0x3d, 0xcf]),
        rogue_name: format!("{ssid}-{}", site.name),
        classification: classification as i32,
        first_det_serial: first.as_str(),
        ssid: ssid,
        encryption: encryption as i32,
        port_data: if rule == "on-wire" { "1/1/7" } else { "" },
        mac_vendor: "NETGEAR",
        classification_method: ClassificationMethod::Rules as i32,
        classification_rule: rule,
        containment_status: contained as i32,
    });
    event.det_device = vec![WidsDetectingDevice::default()];
    event
}

fn attack(stage: &mut Stage, number: usize) -> WidsSignaturesEvent {
    let sites = stage.world.sites.len();
    let (name, category, level, description) = ATTACKS[number / sites];
    message!(WidsSignaturesEvent {
        site_id: stage.world.sites[number % sites].id.as_str(),
        category: category as i32,
        event_type: name,
        description: description,
        mac_addr: mac(&mut stage.rng, [0x4c, 0x5e, 0x0c]),
        radio_band: ["2.4GHz", "5GHz"][number % 2],
        level: level,
    })
}
