//! The feed `clients-events`: who is connected where. Clients of an access point that goes down
//! move to another of their site, and some move back. Key type: [`ClientsFeed`].

use std::collections::VecDeque;

use super::incidents::Turn;
use super::{Feed, Moment, Stage, put};
use crate::decode::proto::network_monitoring::clients::v1::stream_client_message::ClientEvent;
use crate::decode::proto::network_monitoring::clients::v1::*;

const STATE: usize = 0;
const STATS: usize = 1;

/// The two messages of one client. Both are kept inside their wrapper, to be encoded as they are.
struct Unit {
    state: StreamClientMessage,
    stats: StreamClientMessage,
    ap: usize,
    since: u64,
}

/// The clients.
pub(super) struct ClientsFeed {
    stage: Stage,
    units: Vec<Unit>,
    /// Clients with news to tell, and their new state; bounded by the number of clients times two.
    news: VecDeque<(usize, ClientStatus)>,
    at: usize,
    step: usize,
}

impl ClientsFeed {
    pub fn new(stage: Stage) -> Self {
        let units = (0..stage.world.clients.len()).map(|n| unit(&stage, n)).collect();
        ClientsFeed { stage, units, news: VecDeque::new(), at: 0, step: 0 }
    }

    fn take(&mut self, turn: Turn) {
        for (client, unit) in self.units.iter().enumerate() {
            let home = self.stage.world.clients[client].ap;
            if !turn.up && unit.ap == turn.ap {
                self.news.push_back((client, ClientStatus::Disconnected));
                self.news.push_back((client, ClientStatus::Connected));
            } else if turn.up && home == turn.ap && unit.ap != turn.ap {
                self.news.push_back((client, ClientStatus::Connected));
            }
        }
    }

    /// The access point a client joins: its own when that is up, else the nearest that is.
    fn target(&self, client: usize) -> usize {
        let (world, calendar) = (&self.stage.world, &self.stage.calendar);
        let home = world.clients[client].ap;
        let aps = world.sites[world.clients[client].site].aps.clone();
        let around = aps.clone().cycle().skip(home - aps.start).take(aps.len());
        let mut up = around.filter(|ap| !calendar.is_down(*ap));
        up.next().unwrap_or(home)
    }

    fn tell_state(&mut self, client: usize, status: ClientStatus, now: &Moment, out: &mut Vec<u8>) {
        if status == ClientStatus::Connected {
            let ap = self.target(client);
            self.join(client, ap, now);
        }
        let unit = &mut self.units[client];
        if let Some(ClientEvent::ClientState(state)) = &mut unit.state.client_event {
            state.snr = if status == ClientStatus::Connected { 38 } else { 0 };
            if let Some(details) = &mut state.client_details {
                details.status = status as i32;
                details.last_seen = Some(now.proto());
                details.connected_since = Some(now.proto_before(now.elapsed() - unit.since));
            }
        }
        put(&unit.state, out);
    }

    fn join(&mut self, client: usize, ap: usize, now: &Moment) {
        let (unit, ap_now) = (&mut self.units[client], &self.stage.world.aps[ap]);
        unit.ap = ap;
        unit.since = now.elapsed();
        let radio = &ap_now.radios[client % 3];
        if let Some(ClientEvent::ClientState(state)) = &mut unit.state.client_event {
            state.radio_mac_address.clone_from(&radio.mac);
            state.wireless_channel = radio.channel.to_string();
            if let Some(details) = &mut state.client_details {
                details.connected_device_serial.clone_from(&ap_now.serial);
                details.device_name.clone_from(&ap_now.name);
            }
        }
        if let Some(ClientEvent::ClientStats(stats)) = &mut unit.stats.client_event {
            stats.connected_device_serial.clone_from(&ap_now.serial);
        }
    }

    fn tell_stats(&mut self, now: &Moment, out: &mut Vec<u8>) {
        self.at = (self.at + 1) % self.units.len();
        let bits = self.stage.rng.any();
        let unit = &mut self.units[self.at];
        if let Some(ClientEvent::ClientStats(stats)) = &mut unit.stats.client_event {
            let (sent, got) = (bits & 0x3_ffff, (bits >> 18) & 0xf_ffff);
            stats.timestamp = Some(now.proto());
            stats.tx_bytes += sent;
            stats.rx_bytes += got;
            stats.tx_data_frames = stats.tx_data_frames.wrapping_add((sent / 600) as u32);
            stats.rx_data_frames = stats.rx_data_frames.wrapping_add((got / 900) as u32);
            stats.tx_retry_frames = stats.tx_retry_frames.wrapping_add((bits >> 60) as u32);
            stats.tx_drop_frames += u32::from(bits >> 56 & 0xff == 0);
            stats.snr = 25 + (bits >> 50 & 15) as i32;
        }
        put(&unit.stats, out);
    }
}

impl Feed for ClientsFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        while let Some(turn) = self.stage.calendar.due(now.elapsed()) {
            self.take(turn);
        }
        self.step += 1;
        match self.news.pop_front() {
            Some((client, status)) => {
                self.tell_state(client, status, now, out);
                STATE
            }
            // Now and then a client comes or goes of its own accord.
            None if self.step.is_multiple_of(9) => {
                let client = self.stage.rng.index(self.units.len());
                let fails = self.stage.rng.per_mille(120);
                let status = if fails { ClientStatus::Failed } else { ClientStatus::Connected };
                self.tell_state(client, status, now, out);
                STATE
            }
            None => {
                self.tell_stats(now, out);
                STATS
            }
        }
    }
}

fn unit(stage: &Stage, number: usize) -> Unit {
    let state = ClientEvent::ClientState(state(stage, number));
    let stats = ClientEvent::ClientStats(stats(stage, number));
    Unit {
        state: StreamClientMessage { client_event: Some(state) },
        stats: StreamClientMessage { client_event: Some(stats) },
        ap: stage.world.clients[number].ap,
        since: 0,
    }
}

fn state(stage: &Stage, number: usize) -> ClientState {
    let world = &stage.world;
    let (client, ssid) = (&world.clients[number], &world.ssids[world.clients[number].ssid]);
    let (ap, kind) = (&world.aps[client.ap], &client.kind);
    let details = ClientDetails {
        mac_address: client.mac.clone(),
        tenant_id: world.tenant.clone(),
        site_id: world.sites[client.site].id.clone(),
        client_name: client.name.clone(),
        status: ClientStatus::Connected as i32,
        connected_device_serial: ap.serial.clone(),
        host_name: client.name.clone(),
        user_name: client.user.clone(),
        authentication_type: if client.ssid == 1 {
            AuthType::CaptivePortal as i32
        } else {
            AuthType::Dot1xUser as i32
        },
        ipv4: client.ip.clone(),
        device_name: ap.name.clone(),
        role: ssid.role.into(),
        vlan_id: ssid.vlan,
        vlan_name: ssid.vlan_name.into(),
        cpdi: Some(CpdiInfo {
            client_function: kind.name.into(),
            client_vendor: kind.vendor.into(),
            client_operating_system: kind.system.into(),
            client_mac_vendor: kind.vendor.into(),
            client_category: if client.ssid == 2 { "IoT" } else { "Computer" }.into(),
        }),
        ..ClientDetails::default()
    };
    let radio = &ap.radios[number % 3];
    ClientState {
        client_details: Some(details),
        r#type: ClientType::Wireless as i32,
        radio_mac_address: radio.mac.clone(),
        wlan_name: ssid.name.into(),
        wireless_band: ["2.4 GHz", "5 GHz", "6 GHz"][radio.band].into(),
        wireless_channel: radio.channel.to_string(),
        phy_type: "802.11ax".into(),
        key_management: if client.ssid == 1 { "OWE" } else { "WPA3-Enterprise" }.into(),
        wireless_security: if client.ssid == 1 { "Enhanced Open" } else { "WPA3" }.into(),
        snr: 38,
    }
}

fn stats(stage: &Stage, number: usize) -> ClientStats {
    let world = &stage.world;
    let client = &world.clients[number];
    ClientStats {
        tenant_id: world.tenant.clone(),
        site_id: world.sites[client.site].id.clone(),
        mac_address: client.mac.clone(),
        client_name: client.name.clone(),
        connected_device_serial: world.aps[client.ap].serial.clone(),
        wlan_name: world.ssids[client.ssid].name.into(),
        speed: 866,
        duplex: "full".into(),
        snr: 35,
        ..ClientStats::default()
    }
}
