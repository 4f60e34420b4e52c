//! The feed `gw-events`: gateways with their uplinks, VLANs, tunnels and interfaces. An uplink
//! fails now and then, its tunnel with it, and both come back. Key type: [`GatewayFeed`].

use super::world::{Gateway as Device, World};
use super::{Feed, Moment, Rng, Stage, grow, message, put};
use crate::decode::proto::network_monitoring::gw::v1::monitoring_information::GatewayEvent;
use crate::decode::proto::network_monitoring::gw::v1::*;

/// Payloads of the stream, in the catalogue's order.
const KINDS: usize = 11;

/// Place of the tunnel's state among them.
const TUNNEL: usize = 3;

/// What is said, by place in the catalogue: mostly statistics.
const ROUND: &[usize] = &[5, 6, 9, 10, 8, 6, 7, 10, 5, 6, 9, 10, 0, 6, 10, 1, 8, 9, 2, 10, 3, 6, 4];

/// One gateway, each message ready made inside its wrapper.
type Unit = [MonitoringInformation; KINDS];

/// The gateways.
pub(super) struct GatewayFeed {
    rng: Rng,
    units: Vec<Unit>,
    step: usize,
    /// The gateway whose tunnel has to follow its uplink.
    follow: Option<usize>,
}

impl GatewayFeed {
    pub fn new(stage: Stage) -> Self {
        let world = &stage.world;
        let units = world.gateways.iter().map(|device| unit(world, device)).collect();
        GatewayFeed { rng: stage.rng, units, step: 0, follow: None }
    }
}

impl Feed for GatewayFeed {
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize {
        let (gateway, kind) = match self.follow.take() {
            Some(gateway) => (gateway, TUNNEL),
            None => {
                self.step += 1;
                (self.step % self.units.len(), ROUND[self.step % ROUND.len()])
            }
        };
        let bits = self.rng.any();
        let unit = &mut self.units[gateway];
        if let Some(GatewayEvent::UplinkState(uplink)) = &mut unit[kind].gateway_event {
            let fails = uplink.status == Some(Status::Up as i32) && bits.is_multiple_of(4);
            let status = Some(if fails { Status::Down } else { Status::Up } as i32);
            uplink.status = status;
            uplink.wan_status = status;
            if let Some(GatewayEvent::TunnelState(tunnel)) = &mut unit[TUNNEL].gateway_event
                && tunnel.status != status
            {
                tunnel.status = status;
                self.follow = Some(gateway);
            }
        }
        stamp(&mut unit[kind], now, bits);
        put(&unit[kind], out);
        kind
    }
}

/// Sets time and counters.
fn stamp(message: &mut MonitoringInformation, now: &Moment, bits: u64) {
    let time = Some(now.proto());
    let (sent, got) = (bits & 0xff_ffff, (bits >> 24) & 0xff_ffff);
    match &mut message.gateway_event {
        Some(GatewayEvent::GatewayState(state)) => state.timestamp = time,
        Some(GatewayEvent::UplinkState(state)) => state.timestamp = time,
        Some(GatewayEvent::VlanState(state)) => state.timestamp = time,
        Some(GatewayEvent::TunnelState(state)) => state.timestamp = time,
        Some(GatewayEvent::InterfaceState(state)) => state.timestamp = time,
        Some(GatewayEvent::DeviceStats(stats)) => {
            stats.timestamp = time;
            stats.uptime = Some(2_592_000 + now.elapsed() / 1_000);
            stats.cpu_utilization = Some(9 + (bits & 31) as u32);
        }
        Some(GatewayEvent::UplinkStats(stats)) => {
            stats.timestamp = time;
            grow(&mut stats.tx_bytes, sent);
            grow(&mut stats.rx_bytes, got);
        }
        Some(GatewayEvent::UplinkWanStats(stats)) => {
            stats.timestamp = time;
            grow(&mut stats.uncompressed_bytes, sent);
            grow(&mut stats.compressed_bytes, sent / 2);
            grow(&mut stats.savings_bytes, sent - sent / 2);
        }
        Some(GatewayEvent::UplinkIpProbeStats(stats)) => {
            stats.timestamp = time;
            stats.avg_rtt = Some(11 + (bits & 7));
            stats.avg_rtt_float = Some(11.0 + (bits & 0x7f) as f32 / 16.0);
            stats.loss_percentage = Some(u32::from(bits >> 60 == 0));
        }
        Some(GatewayEvent::TunnelStats(stats)) => {
            stats.timestamp = time;
            grow(&mut stats.tunnel_tx_bytes, sent);
            grow(&mut stats.tunnel_rx_bytes, got);
        }
        Some(GatewayEvent::InterfaceStats(stats)) => {
            stats.timestamp = time;
            grow(&mut stats.tx_bytes, sent);
            grow(&mut stats.rx_bytes, got);
            grow(&mut stats.in_packets, got / 700);
            grow(&mut stats.out_packets, sent / 700);
            grow(&mut stats.in_errors, u64::from(bits >> 55 == 0));
        }
        None => {}
    }
}

/// A message with the fields that each message of a gateway has.
macro_rules! of {
    ($world:expr, $device:expr, $ty:ident { $($field:ident: $value:expr),* $(,)? }) => {
        message!($ty {
            timestamp: prost_types::Timestamp::default(),
            tenant_id: $world.tenant.clone(),
            serial_number: $device.serial.clone(),
            $($field: $value,)*
        })
    };
}

fn unit(world: &World, device: &Device) -> Unit {
    let [gateway, uplink, vlan, tunnel, interface] = states(world, device);
    let [load, traffic, wan, probe, tunnel_traffic, counters] = statistics(world, device);
    [gateway, uplink, vlan, tunnel, interface, load, traffic, wan, probe, tunnel_traffic, counters]
        .map(|event| MonitoringInformation { gateway_event: Some(event) })
}

fn states(world: &World, device: &Device) -> [GatewayEvent; 5] {
    let (site, update) = (&world.sites[device.site], EventOperation::Update as i32);
    let up = Status::Up as i32;
    let hub = &world.gateways[0];
    [
        GatewayEvent::GatewayState(of!(
            world,
            device,
            Gateway {
                operation: update,
                device_name: device.name.as_str(),
                mac_address: device.mac.as_str(),
                status: up,
                model: "9004",
                firmware_version: "10.7.1.0_91187",
                ip_v4: device.ip.as_str(),
                public_ip_address: site.public_ip.as_str(),
                mode: "branch",
                default_gateway: "198.51.100.1",
                ip_v6: "fe80::1",
            }
        )),
        GatewayEvent::UplinkState(of!(
            world,
            device,
            Uplink {
                operation: update,
                uplink_name: "uplink1",
                description: "fibre",
                vlan_id: 4_094_u32,
                vlan_description: "wan",
                link_id: 1_u64,
                priority: 10_u32,
                status: up,
                wan_status: up,
                public_ip_address: site.public_ip.as_str(),
                private_ip_address: "192.0.2.2",
            }
        )),
        GatewayEvent::VlanState(of!(
            world,
            device,
            Vlan {
                operation: update,
                vlan_id: 10_u32,
                vlan_description: "office",
                oper_state: up,
                admin_state: up,
                addr_mode: "static",
                ip_v4: device.ip.as_str(),
                ip_v6_ll: "fe80::1",
            }
        )),
        GatewayEvent::TunnelState(of!(
            world,
            device,
            Tunnel {
                operation: update,
                map_id: 7_u64,
                map_name: "to-hub",
                tunnel_mode: TunnelMode::Ike as i32,
                tunnel_type: TunnelType::Wan as i32,
                peer_mac: hub.mac.as_str(),
                local_mac: device.mac.as_str(),
                src_ip: site.public_ip.as_str(),
                dst_ip: world.sites[0].public_ip.as_str(),
                status: up,
            }
        )),
        GatewayEvent::InterfaceState(of!(
            world,
            device,
            Interface {
                operation: update,
                interface_name: "GE 0/0/0",
                mac_address: device.mac.as_str(),
                vlan_id: 4_094_u32,
                port_number: "0/0/0",
                r#type: interface::IntfType::Ethernet as i32,
                ip_address: device.ip.as_str(),
                oper_state: up,
                admin_state: up,
                status: up,
                speed: interface::SpeedType::SpeedType1000 as i32,
                mode: "access",
                duplex_mode: interface::Duplex::Full as i32,
                trusted: true,
                slot: "0",
                mux: "0",
                phy_type: interface::PortType::Sfp as i32,
                native_vlan: 1_u32,
                allowed_vlan: "10,20",
            }
        )),
    ]
}

fn statistics(world: &World, device: &Device) -> [GatewayEvent; 6] {
    let link = 1_u32;
    [
        GatewayEvent::DeviceStats(of!(
            world,
            device,
            DeviceStats {
                uptime: 0_u64,
                cpu_utilization: 11_u32,
                mem_total: 3_980_000_u64,
                mem_free: 2_100_000_u64,
                mem_utilization: 47_u64,
            }
        )),
        GatewayEvent::UplinkStats(of!(
            world,
            device,
            UplinkStats {
                vlan_id: 4_094_u32,
                link_id: link,
                description: "fibre",
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
            }
        )),
        GatewayEvent::UplinkWanStats(of!(
            world,
            device,
            UplinkWanStats {
                vlan_id: 4_094_u32,
                link_id: link,
                description: "fibre",
                compressed_bytes: 0_u64,
                uncompressed_bytes: 0_u64,
                savings_bytes: 0_u64,
            }
        )),
        GatewayEvent::UplinkIpProbeStats(of!(
            world,
            device,
            UplinkIpProbeStats {
                vlan_id: 4_094_u32,
                link_id: link,
                description: "fibre",
                avg_rtt: 12_u64,
                max_rtt: 25_u64,
                min_rtt: 8_u64,
                avg_jitter: 1_u64,
                mos_quality: 43_u64,
                probe_status: 1_u32,
                loss_percentage: 0_u32,
                probe_ip_addr: "198.51.100.1",
                vpnc_ip_addr: world.gateways[0].ip.as_str(),
                avg_rtt_float: 12.5_f32,
                avg_jitter_float: 1.25_f32,
            }
        )),
        GatewayEvent::TunnelStats(of!(
            world,
            device,
            TunnelStats {
                vlan_id: 4_094_u32,
                map_id: 7_u64,
                map_name: "to-hub",
                tunnel_mode: TunnelMode::Ike as i32,
                tunnel_type: TunnelType::Wan as i32,
                tunnel_rx_bytes: 0_u64,
                tunnel_tx_bytes: 0_u64,
            }
        )),
        GatewayEvent::InterfaceStats(of!(
            world,
            device,
            InterfaceStats {
                interface_name: "GE 0/0/0",
                mac_address: device.mac.as_str(),
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
                in_errors: 0_u64,
                out_errors: 0_u64,
                in_packets: 0_u64,
                out_packets: 0_u64,
                in_fcs: 0_u64,
                in_giant: 0_u32,
                out_collision: 0_u64,
            }
        )),
    ]
}
