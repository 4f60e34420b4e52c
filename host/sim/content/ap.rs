//! The feed `ap-events`: statistics of the access points that are up, in turn; state when it
//! changes. Whoever is down is silent. Key type: [`ApFeed`].

use std::collections::VecDeque;

use super::ap_unit::Unit;
use super::incidents::Turn;
use super::world::CHANNELS;
use super::{Feed, Moment, Stage, grow, put, set};
use crate::decode::proto::network_monitoring::ap::v1alpha1::{
    ChangeReason, DeviceDownReason, EventOperation, ProbeStatus, Status, TunnelStatus,
};

/// What to say next; the number is the payload's place in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Info = 0,
    Radio = 1,
    Port = 2,
    Vap = 3,
    Wlan = 4,
    Tunnel = 5,
    System = 6,
    RadioStat = 7,
    VapStat = 8,
    PortStat = 9,
    Modem = 10,
    TunnelStat = 11,
    Probe = 12,
    Role = 13,
    Ssid = 14,
    Vlan = 15,
}

/// What is said when nothing happens: mostly statistics. Each kind is in it.
const ROUND: &[Kind] = &[
    Kind::System,
    Kind::RadioStat,
    Kind::VapStat,
    Kind::RadioStat,
    Kind::PortStat,
    Kind::System,
    Kind::Ssid,
    Kind::RadioStat,
    Kind::Role,
    Kind::VapStat,
    Kind::Vlan,
    Kind::System,
    Kind::RadioStat,
    Kind::TunnelStat,
    Kind::Ssid,
    Kind::VapStat,
    Kind::Probe,
    Kind::System,
    Kind::RadioStat,
    Kind::PortStat,
    Kind::Vlan,
    Kind::Radio,
    Kind::VapStat,
    Kind::System,
    Kind::Modem,
    Kind::RadioStat,
    Kind::Role,
    Kind::Vap,
    Kind::System,
    Kind::TunnelStat,
    Kind::RadioStat,
    Kind::VapStat,
    Kind::Port,
    Kind::Ssid,
    Kind::System,
    Kind::Wlan,
    Kind::RadioStat,
    Kind::Probe,
    Kind::Tunnel,
    Kind::Info,
];

/// Something that happened and is not yet said.
#[derive(Debug, Clone, Copy)]
struct News {
    ap: usize,
    kind: Kind,
    /// Which radio.
    part: usize,
}

/// The access points.
pub(super) struct ApFeed {
    stage: Stage,
    units: Vec<Unit>,
    /// Bounded: what one turn of the calendar brings, and the next comes seconds later.
    news: VecDeque<News>,
    step: usize,
    ap: usize,
}

impl ApFeed {
    pub fn new(mut stage: Stage) -> Self {
        let aps = 0..stage.world.aps.len();
        let units = aps.map(|ap| Unit::new(&stage.world, ap, &mut stage.rng)).collect();
        ApFeed { stage, units, news: VecDeque::new(), step: 0, ap: 0 }
    }

    /// What an access point's turn brings: its own state, then that of its radios.
    fn take(&mut self, turn: Turn) {
        let unit = &mut self.units[turn.ap];
        unit.info.status = Some(turn.up);
        let reason = match (turn.up, turn.planned) {
            (false, true) => Some(DeviceDownReason::ApReboot as i32),
            _ => None,
        };
        unit.info.down_reason = reason;
        if turn.up {
            unit.booted = turn.at as i64 - 20_000;
        }
        let status = if turn.up { Status::Up } else { Status::Down };
        self.news.push_back(News { ap: turn.ap, kind: Kind::Info, part: 0 });
        for (part, radio) in unit.radios.iter_mut().enumerate() {
            radio.status = Some(status as i32);
            self.news.push_back(News { ap: turn.ap, kind: Kind::Radio, part });
        }
    }

    /// The next of the round, from the next access point that is up.
    fn round(&mut self) -> News {
        let kind = ROUND[self.step % ROUND.len()];
        self.step += 1;
        for _ in 0..self.units.len() {
            self.ap = (self.ap + 1) % self.units.len();
            if !self.stage.calendar.is_down(self.ap) {
                break;
            }
        }
        let unit = &mut self.units[self.ap];
        unit.turn += 1;
        let part = unit.turn;
        if kind == Kind::Radio {
            self.change_channel(part % 3);
        }
        News { ap: self.ap, kind, part }
    }

    fn change_channel(&mut self, band: usize) {
        let rng = &mut self.stage.rng;
        let radio = &mut self.units[self.ap].radios[band];
        let channel = CHANNELS[band][rng.index(CHANNELS[band].len())];
        let reasons = [
            ChangeReason::AirmatchSolver,
            ChangeReason::ArmInterference,
            ChangeReason::AirmatchNoise,
            ChangeReason::ArmChannelQualityThresh,
        ];
        radio.chan_reason = Some(reasons[rng.index(reasons.len())] as i32);
        set(&mut radio.channel, &channel.to_string());
        radio.primary_chan = Some(channel);
        radio.secondary_chan = Some(channel + 4);
        radio.transmit_power = Some(rng.between(12, 21) as i32);
    }
}

impl Feed for ApFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        while let Some(turn) = self.stage.calendar.due(now.elapsed()) {
            self.take(turn);
        }
        let news = match self.news.pop_front() {
            Some(news) => news,
            None => self.round(),
        };
        let unit = &mut self.units[news.ap];
        if (news.kind as usize) < Kind::System as usize {
            unit.say_state(news.kind, news.part, now, out);
        } else {
            unit.say_statistics(news.kind, news.part, now, &mut self.stage.rng, out);
        }
        news.kind as usize
    }
}

/// Sets the time of a message and encodes it.
macro_rules! say {
    ($message:expr, $now:expr, $out:expr) => {{
        let message = $message;
        set(&mut message.timestamp, $now.text());
        put(message, $out);
    }};
}

/// Adds traffic to a message that counts bytes.
macro_rules! traffic {
    ($message:expr, $bits:expr) => {{
        let message = $message;
        grow(&mut message.tx_bytes, $bits & 0xf_ffff);
        grow(&mut message.rx_bytes, ($bits >> 20) & 0x3_ffff);
        message
    }};
}

/// One of several, in turn.
fn nth<T>(items: &mut [T], turn: usize) -> &mut T {
    let len = items.len();
    &mut items[turn % len]
}

impl Unit {
    fn say_state(&mut self, kind: Kind, turn: usize, now: &Moment, out: &mut Vec<u8>) {
        let uptime = ((now.elapsed() as i64 - self.booted) / 1_000) as u32;
        let operation = Some(EventOperation::Update as i32);
        match kind {
            Kind::Radio => say!(nth(&mut self.radios, turn), now, out),
            Kind::Port => say!(nth(&mut self.ports, turn), now, out),
            Kind::Vap => say!(nth(&mut self.vaps, turn), now, out),
            Kind::Wlan => say!(nth(&mut self.wlans, turn), now, out),
            Kind::Tunnel => {
                let tunnel = nth(&mut self.tunnels, turn);
                let rekeys = turn.is_multiple_of(7);
                let status = if rekeys { TunnelStatus::Rekeying } else { TunnelStatus::Connected };
                tunnel.status = Some(status as i32);
                tunnel.uptime = Some(uptime.saturating_sub(45));
                say!(tunnel, now, out);
            }
            _ => {
                self.info.operation = operation;
                self.info.uptime = Some(if self.info.status == Some(true) { uptime } else { 0 });
                say!(&mut self.info, now, out);
            }
        }
    }

    fn say_statistics(
        &mut self,
        kind: Kind,
        turn: usize,
        now: &Moment,
        rng: &mut super::Rng,
        out: &mut Vec<u8>,
    ) {
        let bits = rng.any();
        match kind {
            Kind::RadioStat => {
                let stat = traffic!(nth(&mut self.radio_stats, turn), bits);
                stir_radio(stat, bits);
                say!(stat, now, out);
            }
            Kind::VapStat => say!(traffic!(nth(&mut self.vap_stats, turn), bits), now, out),
            Kind::Ssid => say!(traffic!(nth(&mut self.ssids, turn), bits), now, out),
            Kind::Role => say!(traffic!(nth(&mut self.roles, turn), bits), now, out),
            Kind::Vlan => say!(traffic!(nth(&mut self.vlans, turn), bits), now, out),
            Kind::PortStat => {
                let stat = traffic!(nth(&mut self.port_stats, turn), bits);
                grow(&mut stat.tx_pkts, (bits & 0xf_ffff) / 700);
                grow(&mut stat.rx_pkts, ((bits >> 20) & 0x3_ffff) / 400);
                grow(&mut stat.total_frame_drops, u64::from(bits >> 60 == 0));
                say!(stat, now, out);
            }
            Kind::TunnelStat => {
                let stat = traffic!(nth(&mut self.tunnel_stats, turn), bits);
                grow(&mut stat.tx_pkts, (bits & 0xf_ffff) / 700);
                grow(&mut stat.rx_pkts, ((bits >> 20) & 0x3_ffff) / 400);
                say!(stat, now, out);
            }
            Kind::Modem => {
                self.modem.cellular_signal = Some(-80 - (bits >> 61) as i32);
                say!(traffic!(&mut self.modem, bits), now, out);
            }
            Kind::Probe => {
                let lost = bits >> 59 == 0;
                let status = if lost { ProbeStatus::Failure } else { ProbeStatus::Success };
                self.probe.status = Some(status as i32);
                self.probe.loss_percentage = Some(if lost { 100 } else { 0 });
                self.probe.latency = Some(6 + (bits & 7));
                self.probe.jitter = Some(bits >> 8 & 3);
                say!(&mut self.probe, now, out);
            }
            _ => {
                let system = &mut self.system;
                system.cpu_utilization = Some(8.0 + (bits & 0xff) as f32 / 8.0);
                system.memory_utilization = Some(45.0 + (bits >> 8 & 0x3f) as f32 / 4.0);
                system.power_consumption = Some(11.0 + (bits >> 16 & 0x7f) as f64 / 16.0);
                say!(system, now, out);
            }
        }
    }
}

fn stir_radio(
    stat: &mut crate::decode::proto::network_monitoring::ap::v1alpha1::RadioStat,
    bits: u64,
) {
    let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
    let (tx, rx, other) = (u32::from(a % 40), u32::from(b % 25), u32::from(c % 6));
    stat.tx_utilization = Some(tx);
    stat.rx_utilization = Some(rx);
    stat.non_wifi_interference = Some(other);
    stat.total_utilization = Some(tx + rx + other);
    stat.noise_floor = Some(-96 + i32::from(d % 8));
    stat.channel_quality = Some(98 - u32::from(e % 20));
    grow(&mut stat.total_frame_retries, u64::from(f));
    stat.frame_retries = Some(f32::from(f) / 32.0);
    grow(&mut stat.total_frame_drops, u64::from(f >> 5));
    stat.frame_drops = Some(f32::from(f >> 5) / 32.0);
}
