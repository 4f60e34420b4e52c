//! The feed `audit-trail-events`: what people and services did, by named roles, and what became of
//! the devices. Key type: [`AuditFeed`].

use super::incidents::Turn;
use super::{Feed, Moment, Stage, put};
use crate::decode::proto::audittrail::{
    AuditTrail, ChangedField, ChangedJson, ImpactRadius, LogDetails, ScopeInfo,
};
use prost_types::{Struct, Value, value::Kind};

/// Someone who does something: account and address.
const ACTORS: &[(&str, &str)] = &[
    ("admin@example.com", "198.51.100.10"),
    ("noc@example.com", "198.51.100.23"),
    ("helpdesk@example.com", "198.51.100.41"),
    ("auditor@example.com", "198.51.100.57"),
    ("automation@example.com", "198.51.100.99"),
];

/// Action, category, sub-category, description, service.
const ACTS: &[[&str; 5]] = &[
    ["LOGIN", "User Management", "Session", "Logged in", "identity"],
    ["UPDATE", "Configuration", "WLAN", "Changed the wireless network", "configuration"],
    ["READ", "Reporting", "Report", "Read the report on", "reporting"],
    ["UPDATE", "Device Management", "Device", "Renamed the device", "device-monitoring"],
    ["REBOOT", "Device Management", "Device", "Restarted the device", "device-monitoring"],
    ["CREATE", "Configuration", "Role", "Created a role for", "configuration"],
    ["UPDATE", "Firmware", "Compliance", "Set the firmware of", "firmware-management"],
    ["RUN", "Troubleshooting", "Ping", "Ran a ping on", "troubleshooting"],
    ["LOGOUT", "User Management", "Session", "Logged out", "identity"],
];

/// The entries, ready made; who, what and where vary, the time is set.
pub(super) struct AuditFeed {
    stage: Stage,
    entries: Vec<AuditTrail>,
    /// For each access point, one for going and one for coming back.
    turns: Vec<[AuditTrail; 2]>,
    step: usize,
}

impl AuditFeed {
    pub fn new(mut stage: Stage) -> Self {
        // More devices than acts and prime to them, so that each pair has its turn.
        let entries = (0..ACTS.len() * 16).map(|n| entry(&mut stage, n)).collect();
        let aps = 0..stage.world.aps.len();
        let turns = aps.map(|ap| [false, true].map(|up| device_entry(&stage, ap, up))).collect();
        AuditFeed { stage, entries, turns, step: 0 }
    }

    fn on_turn(&mut self, turn: Turn) -> &mut AuditTrail {
        &mut self.turns[turn.ap][usize::from(turn.up)]
    }
}

impl Feed for AuditFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        let entry = match self.stage.calendar.due(now.elapsed()) {
            Some(turn) => self.on_turn(turn),
            None => {
                self.step = (self.step + 1) % self.entries.len();
                &mut self.entries[self.step]
            }
        };
        entry.occurred_on = now.millis() as i64;
        put(entry, out);
        0
    }
}

fn entry(stage: &mut Stage, number: usize) -> AuditTrail {
    let (world, rng) = (&stage.world, &mut stage.rng);
    let [action, category, sub_category, description, service] = ACTS[number % ACTS.len()];
    let (actor, address) = ACTORS[rng.index(ACTORS.len())];
    let ap = &world.aps[rng.index(world.aps.len())];
    let ssid = &world.ssids[rng.index(world.ssids.len())];
    let (destination, name) = match sub_category {
        "Session" => (actor.to_owned(), actor.to_owned()),
        "WLAN" | "Role" => (format!("wlan/{}", ssid.name), ssid.name.to_owned()),
        _ => (ap.serial.clone(), ap.name.clone()),
    };
    let log_details = match sub_category {
        "WLAN" => Some(wlan_change(number, ssid.vlan)),
        "Device" if action == "UPDATE" => Some(rename(&ap.name, &world.sites[ap.site].id)),
        _ => None,
    };
    AuditTrail {
        tenant_id: world.tenant.clone(),
        action: action.into(),
        category: category.into(),
        sub_category: sub_category.into(),
        description: if sub_category == "Session" {
            description.into()
        } else {
            format!("{description} {name}")
        },
        destination,
        destination_name: name,
        scope_info: Some(ScopeInfo {
            scope_type: "SITE".into(),
            scope_ids: vec![world.sites[ap.site].id.clone()],
        }),
        ip_address: address.into(),
        source: actor.into(),
        service_name: service.into(),
        log_details,
        ..AuditTrail::default()
    }
}

fn device_entry(stage: &Stage, ap: usize, up: bool) -> AuditTrail {
    let (device, site) = (&stage.world.aps[ap], stage.world.site_of(ap));
    AuditTrail {
        tenant_id: stage.world.tenant.clone(),
        action: if up { "DEVICE_ONLINE" } else { "DEVICE_OFFLINE" }.into(),
        category: "Device Monitoring".into(),
        sub_category: "Access Point".into(),
        destination: device.serial.clone(),
        destination_name: device.name.clone(),
        scope_info: Some(ScopeInfo { scope_type: "SITE".into(), scope_ids: vec![site.id.clone()] }),
        ip_address: device.ip.clone(),
        description: format!("{} {}", device.name, if up { "is back" } else { "went down" }),
        source: "system".into(),
        service_name: "device-monitoring".into(),
        ..AuditTrail::default()
    }
}

/// A change told as JSON, before and after.
fn wlan_change(number: usize, vlan: u32) -> LogDetails {
    let object = |vlan: u32, hidden: bool| {
        let fields = [
            ("vlan", Kind::NumberValue(f64::from(vlan))),
            ("hidden", Kind::BoolValue(hidden)),
            ("max_clients", Kind::NumberValue(64.0)),
        ];
        let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        Struct { fields: fields.into() }
    };
    LogDetails {
        changed_json: Some(ChangedJson {
            before_transaction: Some(object(vlan, number.is_multiple_of(2))),
            after_transaction: Some(object(vlan, !number.is_multiple_of(2))),
        }),
        ..LogDetails::default()
    }
}

/// A change told field by field.
fn rename(name: &str, site: &str) -> LogDetails {
    LogDetails {
        changed_fields: vec![ChangedField {
            field_label_key: "device.name".into(),
            before_transaction: vec![format!("{name}-old")],
            after_transaction: vec![name.into()],
        }],
        impact_radius: vec![ImpactRadius { context: "SITE".into(), values: vec![site.into()] }],
        ..LogDetails::default()
    }
}
