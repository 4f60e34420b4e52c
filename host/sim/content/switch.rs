//! The feed `switch-events`: load and counters in turn; the port of an access point goes down and
//! comes up with it, and its neighbour leaves and returns. Key type: [`SwitchFeed`].

use std::collections::VecDeque;

use super::incidents::Turn;
use super::switch_unit::Unit;
use super::{Feed, Moment, Stage, grow, put};
use crate::decode::proto::network_monitoring::switch::v1::stream_switch_message::SwitchEvent;
use crate::decode::proto::network_monitoring::switch::v1::{
    EventOperation, StateDownReason, Status, StreamSwitchMessage, interface,
};

/// What to say next; the number is the payload's place in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch = 0,
    Interface = 1,
    Neighbour = 2,
    Vlan = 3,
    Vsx = 4,
    Stats = 5,
    InterfaceStats = 6,
    Stack = 7,
}

/// What is said when nothing happens.
const ROUND: &[Kind] = &[
    Kind::InterfaceStats,
    Kind::InterfaceStats,
    Kind::Stats,
    Kind::InterfaceStats,
    Kind::Neighbour,
    Kind::InterfaceStats,
    Kind::InterfaceStats,
    Kind::Stats,
    Kind::Vsx,
    Kind::InterfaceStats,
    Kind::Vlan,
    Kind::InterfaceStats,
    Kind::Stack,
    Kind::Stats,
    Kind::Switch,
    Kind::InterfaceStats,
    Kind::Interface,
];

/// Something that happened to a port and is not yet said.
#[derive(Debug, Clone, Copy)]
struct News {
    switch: usize,
    port: usize,
    kind: Kind,
}

/// The switches.
pub(super) struct SwitchFeed {
    stage: Stage,
    units: Vec<Unit>,
    /// Bounded: what one turn of the calendar brings, and the next comes seconds later.
    news: VecDeque<News>,
    step: usize,
}

impl SwitchFeed {
    pub fn new(stage: Stage) -> Self {
        let units = (0..stage.world.switches.len()).map(|n| Unit::new(&stage.world, n)).collect();
        SwitchFeed { stage, units, news: VecDeque::new(), step: 0 }
    }

    /// The port of an access point follows it.
    fn take(&mut self, turn: Turn) {
        let ap = &self.stage.world.aps[turn.ap];
        let (switch, port) = (ap.switch, ap.switch_port);
        let unit = &mut self.units[switch];
        set_link(&mut unit.interfaces[port], turn.up);
        if let Some(SwitchEvent::LldpState(lldp)) = &mut unit.neighbours[port].switch_event {
            let operation = if turn.up { EventOperation::Add } else { EventOperation::Delete };
            lldp.operation = Some(operation as i32);
        }
        for kind in [Kind::Interface, Kind::Neighbour] {
            self.news.push_back(News { switch, port, kind });
        }
    }

    fn round(&mut self) -> News {
        let kind = ROUND[self.step % ROUND.len()];
        let switch = self.step % self.units.len();
        self.step += 1;
        let unit = &mut self.units[switch];
        unit.turn += 1;
        let port = unit.turn % unit.interfaces.len();
        // Only ports without an access point are renegotiated: theirs follow the calendar.
        if kind == Kind::Interface && port >= unit.interfaces.len() / 2 {
            renegotiate(&mut unit.interfaces[port]);
        }
        News { switch, port, kind }
    }
}

impl Feed for SwitchFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        while let Some(turn) = self.stage.calendar.due(now.elapsed()) {
            self.take(turn);
        }
        let news = match self.news.pop_front() {
            Some(news) => news,
            None => self.round(),
        };
        let bits = self.stage.rng.any();
        let message = self.units[news.switch].message(news.kind, news.port);
        stamp(message, now, bits);
        put(message, out);
        news.kind as usize
    }
}

impl Unit {
    fn message(&mut self, kind: Kind, port: usize) -> &mut StreamSwitchMessage {
        let vlans = self.vlans.len();
        match kind {
            Kind::Switch => &mut self.switch,
            Kind::Interface => &mut self.interfaces[port],
            Kind::Neighbour => &mut self.neighbours[port],
            Kind::Vlan => &mut self.vlans[port % vlans],
            Kind::Vsx => &mut self.vsx,
            Kind::Stats => &mut self.stats,
            Kind::InterfaceStats => &mut self.interface_stats[port],
            Kind::Stack => &mut self.stack,
        }
    }
}

fn set_link(message: &mut StreamSwitchMessage, up: bool) {
    if let Some(SwitchEvent::InterfaceState(interface)) = &mut message.switch_event {
        let status = Some(if up { Status::Up } else { Status::Down } as i32);
        interface.status = status;
        interface.oper_status = status;
        interface.poe_status = status;
        interface.state_down_reason = (!up).then_some(StateDownReason::LinkDown as i32);
    }
}

fn renegotiate(message: &mut StreamSwitchMessage) {
    if let Some(SwitchEvent::InterfaceState(interface)) = &mut message.switch_event {
        let slow = Some(interface::SpeedType::SpeedType1000 as i32);
        let fast = Some(interface::SpeedType::SpeedType5000 as i32);
        interface.speed = if interface.speed == slow { fast } else { slow };
    }
}

/// Sets time and counters.
fn stamp(message: &mut StreamSwitchMessage, now: &Moment, bits: u64) {
    let time = Some(now.proto());
    match &mut message.switch_event {
        Some(SwitchEvent::SwitchState(switch)) => {
            switch.timestamp = time;
            switch.uptime_in_millis = Some(1_728_000_000 + now.elapsed());
        }
        Some(SwitchEvent::InterfaceState(interface)) => interface.timestamp = time,
        Some(SwitchEvent::LldpState(lldp)) => lldp.timestamp = time,
        Some(SwitchEvent::VlanState(vlan)) => vlan.timestamp = time,
        Some(SwitchEvent::VsxState(vsx)) => {
            vsx.timestamp = time;
            vsx.last_sync_timestamp = Some(now.proto_before(bits & 0x3fff));
        }
        Some(SwitchEvent::StackState(stack)) => stack.timestamp = time,
        Some(SwitchEvent::DeviceStats(stats)) => {
            stats.timestamp = time;
            stats.cpu_utilization = Some(6 + (bits & 31) as u32);
            stats.temperature = Some(36 + (bits >> 8 & 7) as u32);
            stats.fan_speed = Some(7_000 + (bits >> 16 & 0x3ff) as u32);
            stats.poe_consumption = Some(80 + (bits >> 32 & 63) as u32);
            stats.uptime = Some(1_728_000 + now.elapsed() / 1_000);
        }
        Some(SwitchEvent::InterfaceStats(stats)) => {
            let (sent, got) = (bits & 0xff_ffff, (bits >> 24) & 0xff_ffff);
            stats.timestamp = time;
            grow(&mut stats.tx_bytes, sent);
            grow(&mut stats.rx_bytes, got);
            grow(&mut stats.out_packets, sent / 700);
            grow(&mut stats.in_packets, got / 700);
            grow(&mut stats.in_unicast_pkt, got / 800);
            grow(&mut stats.in_broadcast_pkt, got / 90_000);
            grow(&mut stats.in_multicast_pkt, got / 40_000);
            grow(&mut stats.in_fcs, u64::from(bits >> 54 == 0));
        }
        None => {}
    }
}
