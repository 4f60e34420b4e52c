//! One access point with all the messages it will ever send, ready made: numbers and times are
//! changed in place, so that an event costs no allocation. Key type: [`Unit`].

use super::message;
use super::rng::Rng;
use super::world::{Radio, World};
use crate::decode::proto::network_monitoring::ap::v1alpha1::*;

/// The messages of one access point.
#[derive(Debug)]
pub(super) struct Unit {
    pub info: ApInfo,
    pub system: ApSystemStat,
    pub radios: Vec<RadioInfo>,
    pub radio_stats: Vec<RadioStat>,
    pub vaps: Vec<VapInfo>,
    pub vap_stats: Vec<VapStat>,
    pub ports: Vec<PortInfo>,
    pub port_stats: Vec<PortStat>,
    pub wlans: Vec<WlanInfo>,
    pub ssids: Vec<SsidStat>,
    pub roles: Vec<RoleStat>,
    pub vlans: Vec<VlanStat>,
    pub tunnels: Vec<TunnelInfo>,
    pub tunnel_stats: Vec<TunnelStat>,
    pub modem: ModemStat,
    pub probe: IpProbeStat,
    /// When it last started, in milliseconds since the world began; before that, negative.
    pub booted: i64,
    /// Counts its events, to take radios, ports and networks in turn.
    pub turn: usize,
}

/// A message with the fields that each message of an access point has.
macro_rules! of {
    ($who:expr, $ty:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let who: &Who<'_> = $who;
        message!($ty {
            timestamp: String::new(),
            tenant_id: who.world.tenant.clone(),
            serial_number: who.ap.serial.clone(),
            mac_address: who.ap.mac.clone(),
            $($field: $value,)*
        })
    }};
}

/// Whose messages are made.
struct Who<'a> {
    world: &'a World,
    ap: &'a super::world::Ap,
}

const UPDATE: i32 = EventOperation::Update as i32;

const BANDS: [RadioBand; 3] =
    [RadioBand::RadioBand24ghz, RadioBand::RadioBand5ghz, RadioBand::RadioBand6ghz];

impl Unit {
    /// Makes the messages of an access point.
    pub fn new(world: &World, index: usize, rng: &mut Rng) -> Self {
        let ap = &world.aps[index];
        let who = &Who { world, ap };
        let bssids =
            || ap.radios.iter().flat_map(|r| r.bssids.iter().enumerate().map(move |b| (r, b)));
        Unit {
            info: who.info(rng),
            system: of!(
                who,
                ApSystemStat {
                    cpu_utilization: 12.0_f32,
                    memory_utilization: 48.0_f32,
                    power_consumption: 13.5,
                }
            ),
            radios: ap.radios.iter().map(|radio| who.radio(radio)).collect(),
            radio_stats: ap.radios.iter().map(|radio| who.radio_stat(radio, rng)).collect(),
            vaps: bssids().map(|(radio, bssid)| who.vap(radio, bssid)).collect(),
            vap_stats: bssids().map(|(radio, bssid)| who.vap_stat(radio, bssid)).collect(),
            ports: (0..2).map(|n| who.port(n)).collect(),
            port_stats: (0..2).map(|n| who.port_stat(n)).collect(),
            wlans: (0..world.ssids.len()).map(|n| who.wlan(n)).collect(),
            ssids: world
                .ssids
                .iter()
                .map(|s| of!(who, SsidStat { ssid: s.name, tx_bytes: 0_u64, rx_bytes: 0_u64 }))
                .collect(),
            roles: world
                .ssids
                .iter()
                .map(|s| of!(who, RoleStat { user_role: s.role, tx_bytes: 0_u64, rx_bytes: 0_u64 }))
                .collect(),
            vlans: world
                .ssids
                .iter()
                .map(|s| of!(who, VlanStat { vlan: s.vlan, tx_bytes: 0_u64, rx_bytes: 0_u64 }))
                .collect(),
            tunnels: (0..2).map(|n| who.tunnel(n)).collect(),
            tunnel_stats: (0..2).map(|n| who.tunnel_stat(n)).collect(),
            modem: of!(
                who,
                ModemStat {
                    tx_bytes: 0_u64,
                    rx_bytes: 0_u64,
                    cellular_signal: -83,
                    cellular_sinr: 14_u32
                }
            ),
            probe: who.probe(),
            booted: -1_000 * i64::from(rng.between(3_600, 2_000_000)),
            turn: rng.index(64),
        }
    }
}

impl Who<'_> {
    fn info(&self, rng: &mut Rng) -> ApInfo {
        let (ap, site) = (self.ap, &self.world.sites[self.ap.site]);
        let first = &self.world.aps[site.aps.start];
        let cluster = message!(ClusterInfo {
            cluster_id: site.building.as_str(),
            name: format!("{}-cluster", site.name),
            ip_v4: format!("10.{}.1.10", 20 + ap.site),
        });
        let role = if first.serial == ap.serial { ApRole::Conductor } else { ApRole::Member };
        of!(
            self,
            ApInfo {
                operation: UPDATE,
                device_name: ap.name.as_str(),
                model: ap.model,
                ip_v4: ap.ip.as_str(),
                ip_v6: format!("fe80::{:x}:{:x}", rng.below(0xffff), rng.below(0xffff)),
                public_ip: site.public_ip.as_str(),
                uptime: 0_u32,
                mode: ApMode::Access as i32,
                status: true,
                operating_mode: ApOpMode::Cluster as i32,
                cluster: cluster,
                elected_role: role as i32,
                mesh_mode: MeshRole::Portal as i32,
                current_uplink_inuse: UplinkType::Eth as i32,
                firmware_version: "10.7.1.0_91187",
                zone: site.name,
                drt_version: "1.0_90122",
                country_code: site.country,
                modem_status: ap.name.ends_with("01"),
            }
        )
    }

    fn radio(&self, radio: &Radio) -> RadioInfo {
        let (bandwidth, ht) = [
            (ChannelBandwidth::ChannelBandwidth20mhz, HtType::He20mz),
            (ChannelBandwidth::ChannelBandwidth80mhz, HtType::He80mz),
            (ChannelBandwidth::ChannelBandwidth160mhz, HtType::He160mz),
        ][radio.band];
        let phy =
            [PhyType::PhyType80211g, PhyType::PhyType80211a, PhyType::PhyType802116ghz][radio.band];
        of!(
            self,
            RadioInfo {
                operation: UPDATE,
                radio_mac_address: radio.mac.as_str(),
                channel: radio.channel.to_string(),
                transmit_power: 18,
                radio_number: radio.band as u32,
                band: BANDS[radio.band] as i32,
                band_range: BandRange::Full as i32,
                mode: RadioMode::ClientAccess as i32,
                status: Status::Up as i32,
                ht_type: ht as i32,
                phy_type: phy as i32,
                chan_reason: ChangeReason::AirmatchInit as i32,
                eirp_reason: ChangeReason::AirmatchInit as i32,
                eirp_resolution: 10_u32,
                eirp: 210,
                primary_chan: radio.channel,
                secondary_chan: radio.channel + 4,
                bandwidth: bandwidth as i32,
                spatial_stream: "4x4:4",
                radio_type: RadioType::RadioType80211ax as i32,
                antenna: RadioAntenna::TypeInternal as i32,
            }
        )
    }

    fn radio_stat(&self, radio: &Radio, rng: &mut Rng) -> RadioStat {
        of!(
            self,
            RadioStat {
                radio_mac_address: radio.mac.as_str(),
                band: BANDS[radio.band] as i32,
                band_range: BandRange::Full as i32,
                tx_bytes: rng.below(1 << 36),
                rx_bytes: rng.below(1 << 34),
                noise_floor: -94,
                channel_quality: 90_u32,
                total_utilization: 30_u32,
                tx_utilization: 16_u32,
                rx_utilization: 9_u32,
                non_wifi_interference: 2_u32,
                total_frame_retries: rng.below(1 << 20),
                frame_retries: 4.5_f32,
                total_frame_drops: rng.below(1 << 14),
                frame_drops: 0.25_f32,
            }
        )
    }

    fn vap(&self, radio: &Radio, (number, bssid): (usize, &String)) -> VapInfo {
        of!(
            self,
            VapInfo {
                operation: UPDATE,
                radio_mac_address: radio.mac.as_str(),
                bssid: bssid.as_str(),
                essid: self.world.ssids[number].name,
            }
        )
    }

    fn vap_stat(&self, radio: &Radio, (number, bssid): (usize, &String)) -> VapStat {
        of!(
            self,
            VapStat {
                radio_mac_address: radio.mac.as_str(),
                bssid: bssid.as_str(),
                essid: self.world.ssids[number].name,
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
            }
        )
    }

    fn port(&self, number: u32) -> PortInfo {
        of!(
            self,
            PortInfo {
                operation: UPDATE,
                port_index: number,
                port_name: format!("eth{number}"),
                port_mac_address: self.port_mac(number),
                status: Status::Up as i32,
                admin_state: true,
                operate_state: true,
                r#type: if number == 0 {
                    PortType::PortType5Gig as i32
                } else {
                    PortType::Gig as i32
                },
                mode: PortMode::Bridge as i32,
                speed: if number == 0 {
                    PortMaxSpeed::PortMaxSpeed5000 as i32
                } else {
                    PortMaxSpeed::PortMaxSpeed1000 as i32
                },
                duplex: PortDuplex::Full as i32,
                vlan_mode: PortVlanMode::Trunk as i32,
                native_vlan: 1_u32,
                allowed_vlan: "10,20,30,40",
                is_uplink: number == 0,
            }
        )
    }

    fn port_stat(&self, number: u32) -> PortStat {
        of!(
            self,
            PortStat {
                port_mac_address: self.port_mac(number),
                port_index: number,
                duplex: PortDuplex::Full as i32,
                speed: if number == 0 {
                    PortMaxSpeed::PortMaxSpeed5000 as i32
                } else {
                    PortMaxSpeed::PortMaxSpeed1000 as i32
                },
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
                tx_pkts: 0_u64,
                rx_pkts: 0_u64,
                total_frame_errors: 0_u64,
                frame_error: 0.0_f32,
                total_frame_drops: 0_u64,
                frame_drops: 0.0_f32,
                total_crc: 0_u32,
                crc: 0.0_f32,
                total_collision: 0_u32,
                collision: 0.0_f32,
            }
        )
    }

    fn wlan(&self, number: usize) -> WlanInfo {
        let ssid = &self.world.ssids[number];
        let (mode, kind) = [
            (WlanOpMode::Wpa3AesCcm128, WlanType::Employee),
            (WlanOpMode::EnhancedOpen, WlanType::Guest),
            (WlanOpMode::MpskAes, WlanType::Employee),
            (WlanOpMode::Wpa2EnterpriseAes, WlanType::Voice),
        ][number % 4];
        of!(
            self,
            WlanInfo {
                operation: UPDATE,
                essid: ssid.name,
                vlan: ssid.vlan.to_string(),
                wlan_op_mode: mode as i32,
                wlan_type: kind as i32,
                wlan_band: if number == 0 {
                    WlanBand::All as i32
                } else {
                    WlanBand::WlanBand24ghz5ghz as i32
                },
                status: true,
            }
        )
    }

    fn tunnel(&self, number: usize) -> TunnelInfo {
        let gateway = &self.world.gateways[self.ap.site];
        of!(
            self,
            TunnelInfo {
                operation: UPDATE,
                index: self.tunnel_index(number),
                tunnel_name: format!("{}-tunnel-{number}", gateway.name),
                crypto_type: TunnelCryptoType::Certificate as i32,
                peer_ip: gateway.ip.as_str(),
                ip: self.ap.ip.as_str(),
                status: TunnelStatus::Connected as i32,
                active: number == 0,
                uptime: 86_400_u32,
                peer_name: gateway.name.as_str(),
            }
        )
    }

    fn tunnel_stat(&self, number: usize) -> TunnelStat {
        of!(
            self,
            TunnelStat {
                tunnel_index: self.tunnel_index(number),
                tunnel_name: format!("{}-tunnel-{number}", self.world.gateways[self.ap.site].name),
                tun_type: TunnelType::ArubaIpsec as i32,
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
                tx_pkts: 0_u64,
                rx_pkts: 0_u64,
            }
        )
    }

    fn probe(&self) -> IpProbeStat {
        let gateway = &self.world.gateways[self.ap.site];
        of!(
            self,
            IpProbeStat {
                owner: ProbeOwner::Vpn as i32,
                ip: gateway.ip.as_str(),
                src_interface: 1_u32,
                tunnel_index: TunnelIndex::Primary as i32,
                tunnel_name: format!("{}-tunnel-0", gateway.name),
                status: ProbeStatus::Success as i32,
                loss_percentage: 0_u32,
                latency: 9_u64,
                jitter: 1_u64,
                mos: 44_u32,
            }
        )
    }

    fn port_mac(&self, number: u32) -> String {
        format!("{}{}", &self.ap.mac[..self.ap.mac.len() - 1], number + 1)
    }

    fn tunnel_index(&self, number: usize) -> i32 {
        if number == 0 { TunnelIndex::Primary as i32 } else { TunnelIndex::Backup as i32 }
    }
}
