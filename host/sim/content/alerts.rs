//! The feed `alert-events`: alerts are raised and cleared, for the access points by the calendar,
//! for the rest now and then. Key type: [`AlertFeed`].

use std::collections::{HashMap, VecDeque};

use super::incidents::Turn;
use super::world::uuid;
use super::{Feed, Moment, Stage, mix, put, set};
use crate::decode::proto::network_notifications::alerts::v1::{
    AdditionalDetail, AlertStreamingMessage, ImpactedEntities,
};

/// How many access points of a site have to be down for the site's own alert.
const SITE_THRESHOLD: usize = 3;

/// Name, category, device type, severity, summary.
const KINDS: &[[&str; 5]] = &[
    ["High channel utilization", "Radio", "Access Point", "Minor", "Channel is busy"],
    ["Client onboarding failures", "Client", "Access Point", "Major", "Clients fail to join"],
    ["High CPU utilization", "Device", "Switch", "Minor", "Processor load is high"],
    ["PoE budget nearly spent", "Device", "Switch", "Warning", "Little power is left for ports"],
    ["Uplink flapping", "WAN", "Gateway", "Major", "Uplink changed state often"],
    ["DHCP pool nearly spent", "Service", "Gateway", "Warning", "Few addresses are left"],
];

/// One alert that can be raised and cleared, over and over.
struct Alert {
    message: AlertStreamingMessage,
    raised: bool,
    label: u64,
}

/// The alerts.
pub(super) struct AlertFeed {
    stage: Stage,
    others: Vec<Alert>,
    devices: Vec<Alert>,
    sites: Vec<Alert>,
    /// Sites whose own alert is due; bounded by the number of sites.
    due: VecDeque<usize>,
}

impl AlertFeed {
    pub fn new(mut stage: Stage) -> Self {
        let kinds = 0..KINDS.len() * stage.world.sites.len();
        let others = kinds.map(|number| other(&mut stage, number)).collect();
        let devices = (0..stage.world.aps.len()).map(|ap| device(&mut stage, ap)).collect();
        let sites = (0..stage.world.sites.len()).map(|site| outage(&mut stage, site)).collect();
        AlertFeed { stage, others, devices, sites, due: VecDeque::new() }
    }

    fn take(&mut self, turn: Turn) -> &mut Alert {
        let site = self.stage.world.aps[turn.ap].site;
        let broken = turn.down_at_site >= SITE_THRESHOLD && !turn.planned;
        if broken != self.sites[site].raised && !turn.planned {
            self.due.push_back(site);
        }
        &mut self.devices[turn.ap]
    }
}

impl Feed for AlertFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        let alert = if let Some(site) = self.due.pop_front() {
            &mut self.sites[site]
        } else if let Some(turn) = self.stage.calendar.due(now.elapsed()) {
            self.take(turn)
        } else {
            let at = self.stage.rng.index(self.others.len());
            &mut self.others[at]
        };
        alert.toggle(now);
        put(&alert.message, out);
        0
    }
}

impl Alert {
    fn new(stage: &mut Stage, site: usize, kind: [&str; 5], serials: Vec<String>) -> Self {
        let [name, category, device_type, severity, summary] = kind;
        let site = &stage.world.sites[site];
        let threshold = HashMap::from([("threshold".to_owned(), "default".to_owned())]);
        let message = AlertStreamingMessage {
            alert_id: uuid(&mut stage.rng),
            tenant_id: stage.world.tenant.clone(),
            tenant_name: "Example Networks".into(),
            name: name.into(),
            category: category.into(),
            device_type: device_type.into(),
            severity: severity.into(),
            site_id: Some(site.id.clone()),
            config_scope: format!("site/{}", site.id),
            summary: format!("{summary} at {}", site.name),
            site_name: Some(site.name.into()),
            impacted_entities: Some(ImpactedEntities {
                device_serial: serials,
                client_mac: Vec::new(),
            }),
            // One entry a map: the order of more is not the same from run to run.
            additional_details: vec![AdditionalDetail { entries: threshold }],
            priority: Some(if severity == "Critical" { "P1" } else { "P3" }.into()),
            ..AlertStreamingMessage::default()
        };
        Alert { message, raised: false, label: stage.rng.any() }
    }

    /// Raises a cleared alert and clears a raised one.
    fn toggle(&mut self, now: &Moment) {
        self.raised = !self.raised;
        let (operation, state, note) = match self.raised {
            true => ("CREATE", "Active", ""),
            false => ("UPDATE", "Cleared", "cleared by the system"),
        };
        let message = &mut self.message;
        if self.raised {
            self.label = mix(self.label);
        }
        message.id.clear();
        let suffix = if self.raised { "raised" } else { "cleared" };
        // Cannot fail: a String takes what it is given.
        let _ = std::fmt::Write::write_fmt(
            &mut message.id,
            format_args!("{:016x}-{suffix}", self.label),
        );
        operation.clone_into(&mut message.operation);
        state.clone_into(&mut message.state);
        set(&mut message.notes, note);
        message.time = Some(now.proto());
    }
}

fn other(stage: &mut Stage, number: usize) -> Alert {
    let site = number % stage.world.sites.len();
    let kind = KINDS[number / stage.world.sites.len()];
    let world = &stage.world;
    let serial = match kind[2] {
        "Switch" => world.switches[2 * site].serial.clone(),
        "Gateway" => world.gateways[site].serial.clone(),
        _ => world.aps[world.sites[site].aps.start].serial.clone(),
    };
    Alert::new(stage, site, kind, vec![serial])
}

fn device(stage: &mut Stage, ap: usize) -> Alert {
    let (site, serial) = (stage.world.aps[ap].site, stage.world.aps[ap].serial.clone());
    let summary = format!("{} is down", stage.world.aps[ap].name);
    let kind = ["Access point down", "Device", "Access Point", "Major", &summary];
    Alert::new(stage, site, kind, vec![serial])
}

fn outage(stage: &mut Stage, site: usize) -> Alert {
    let aps = stage.world.sites[site].aps.clone();
    let serials = aps.map(|ap| stage.world.aps[ap].serial.clone()).collect();
    let kind =
        ["Site outage", "Site", "Access Point", "Critical", "Several access points are down"];
    Alert::new(stage, site, kind, serials)
}
