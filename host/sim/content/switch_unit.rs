//! One switch with all the messages it will ever send, ready made inside their wrappers. Key type:
//! [`Unit`].

use super::message;
use super::world::{Switch as Device, World};
use crate::decode::proto::network_monitoring::switch::v1::stream_switch_message::SwitchEvent;
use crate::decode::proto::network_monitoring::switch::v1::switch::PowerSupply;
use crate::decode::proto::network_monitoring::switch::v1::{
    DeviceRole, DeviceStats, EventOperation, Interface, InterfaceStats, IslState, IslpDeviceState,
    Lldp, Status, StreamSwitchMessage, Switch, SwitchStack, Vlan, VlanModes, VlanStatus, VlanType,
    Vsx, interface, switch, switch_stack,
};

/// The messages of one switch.
#[derive(Debug)]
pub(super) struct Unit {
    pub switch: StreamSwitchMessage,
    pub interfaces: Vec<StreamSwitchMessage>,
    pub neighbours: Vec<StreamSwitchMessage>,
    pub vlans: Vec<StreamSwitchMessage>,
    pub vsx: StreamSwitchMessage,
    pub stats: StreamSwitchMessage,
    pub interface_stats: Vec<StreamSwitchMessage>,
    pub stack: StreamSwitchMessage,
    /// Counts its events, to take interfaces and VLANs in turn.
    pub turn: usize,
}

const UPDATE: i32 = EventOperation::Update as i32;

/// A message with the fields that each message of a switch has.
macro_rules! of {
    ($who:expr, $ty:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let who: &Who<'_> = $who;
        message!($ty {
            timestamp: prost_types::Timestamp::default(),
            tenant_id: who.world.tenant.clone(),
            serial_number: who.device.serial.clone(),
            site_name: who.world.sites[who.device.site].name,
            $($field: $value,)*
        })
    }};
}

/// Whose messages are made.
struct Who<'a> {
    world: &'a World,
    device: &'a Device,
    /// The other switch of the pair or stack.
    peer: &'a Device,
    is_first: bool,
}

impl Unit {
    /// Makes the messages of a switch.
    pub fn new(world: &World, index: usize) -> Self {
        let (device, peer) = (&world.switches[index], &world.switches[index ^ 1]);
        let who = &Who { world, device, peer, is_first: index.is_multiple_of(2) };
        let ports = 0..device.ports;
        let wrap = |event| StreamSwitchMessage { switch_event: Some(event) };
        let each = |make: &dyn Fn(usize) -> SwitchEvent| -> Vec<_> {
            ports.clone().map(|port| wrap(make(port))).collect()
        };
        Unit {
            switch: wrap(SwitchEvent::SwitchState(who.switch())),
            interfaces: each(&|port| SwitchEvent::InterfaceState(who.interface(port))),
            neighbours: each(&|port| SwitchEvent::LldpState(who.neighbour(index, port))),
            vlans: (0..world.ssids.len())
                .map(|n| wrap(SwitchEvent::VlanState(who.vlan(n))))
                .collect(),
            vsx: wrap(SwitchEvent::VsxState(who.vsx())),
            stats: wrap(SwitchEvent::DeviceStats(who.stats())),
            interface_stats: each(&|port| SwitchEvent::InterfaceStats(who.interface_stats(port))),
            stack: wrap(SwitchEvent::StackState(who.stack())),
            turn: index,
        }
    }
}

impl Who<'_> {
    fn switch(&self) -> Switch {
        use switch::power_supply::PowerSupplyStatus;
        let supplies = [PowerSupplyStatus::Powered, PowerSupplyStatus::NotPlugged];
        let mut switch = of!(
            self,
            Switch {
                operation: UPDATE,
                uptime_in_millis: 0_u64,
                device_name: self.device.name.as_str(),
                firmware_version: "10.13.1040",
                mac_address: self.device.mac.as_str(),
                model: self.device.model,
                status: Status::Up as i32,
                ipv4: self.device.ip.as_str(),
                public_ip: self.world.sites[self.device.site].public_ip.as_str(),
                default_gateway: self.world.gateways[self.device.site].ip.as_str(),
            }
        );
        switch.power_supplies = (1_u32..)
            .zip(supplies)
            .map(|(index, status)| message!(PowerSupply { index: index, status: status as i32 }))
            .collect();
        switch
    }

    fn interface(&self, port: usize) -> Interface {
        let mut interface = of!(
            self,
            Interface {
                operation: UPDATE,
                name: port_name(port),
                mac_address: self.port_mac(port),
                status: Status::Up as i32,
                duplex: interface::Duplex::Full as i32,
                port_number: (port + 1).to_string(),
                r#type: interface::IntfType::Ethernet as i32,
                mode: "bridge",
                vlan: 1_u32,
                has_poe: interface::PoeSupport::Supported as i32,
                poe_status: Status::Up as i32,
                oper_status: Status::Up as i32,
                admin_status: Status::Up as i32,
                speed: interface::SpeedType::SpeedType5000 as i32,
                trusted: 1_u32,
                slot: "1",
                phy_type: interface::PortType::Rj45 as i32,
                native_vlan: 1_u32,
                vsx_enabled: false,
                vlan_mode: VlanModes::NativeUntagged as i32,
            }
        );
        interface.allowed_vlan = self.world.ssids.iter().map(|ssid| ssid.vlan).collect();
        interface
    }

    /// The access point on the port, or else a telephone.
    fn neighbour(&self, switch: usize, port: usize) -> Lldp {
        let mut aps = self.world.aps.iter();
        let ap = aps.find(|ap| ap.switch == switch && ap.switch_port == port);
        let name = ap.map_or_else(|| format!("phone-{}", port + 1), |ap| ap.name.clone());
        of!(
            self,
            Lldp {
                operation: UPDATE,
                port: port_name(port),
                neighbour: name,
                neighbour_port: "eth0",
                remote_port_number: "0",
                vlan_id: "1",
            }
        )
    }

    fn vlan(&self, number: usize) -> Vlan {
        let ssid = &self.world.ssids[number];
        of!(
            self,
            Vlan {
                operation: UPDATE,
                name: ssid.vlan_name,
                vlan_id: ssid.vlan.to_string(),
                id: ssid.vlan,
                tagged_ports: "1/1/1-1/1/12",
                isl_ports: "1/1/49",
                is_management_vlan: false,
                is_jumbo_enabled: false,
                is_igmp_enabled: number == 3,
                status: VlanStatus::Up as i32,
                oper_state_reason: "ok",
                r#type: VlanType::Static as i32,
            }
        )
    }

    fn vsx(&self) -> Vsx {
        let roles = [DeviceRole::Primary as i32, DeviceRole::Secondary as i32];
        let (own, peer) = if self.is_first { (roles[0], roles[1]) } else { (roles[1], roles[0]) };
        of!(
            self,
            Vsx {
                operation: UPDATE,
                role: own,
                peer_role: peer,
                isl_port: "1/1/49",
                peer_isl_port: "1/1/49",
                keepalive_peer_ip: self.peer.ip.as_str(),
                keepalive_src_ip: self.device.ip.as_str(),
                last_sync_timestamp: prost_types::Timestamp::default(),
                peer_mac: self.peer.mac.as_str(),
                config_sync_disable: false,
                islp_device_state: IslpDeviceState::PeerEstablished as i32,
                isl_state: IslState::InSync as i32,
                config_sync_state_value: IslState::InSync as i32,
                isl_mgmt_state_value: IslState::Operational as i32,
                nae_state_value: IslState::Operational as i32,
                https_server_state_value: IslState::PeerReachable as i32,
            }
        )
    }

    fn stats(&self) -> DeviceStats {
        of!(
            self,
            DeviceStats {
                cpu_utilization: 12_u32,
                mem_total: 8_053_063_680_u64,
                mem_free: 5_100_273_664_u64,
                mem_utilization: 37_u64,
                power_consumption: 180_u32,
                fan_speed: 7_200_u32,
                temperature: 38_u32,
                fan_status: Status::Up as i32,
                max_power: 740_u32,
                poe_consumption: 96_u32,
                poe_available: 274_u32,
                uptime: 0_u64,
            }
        )
    }

    fn interface_stats(&self, port: usize) -> InterfaceStats {
        of!(
            self,
            InterfaceStats {
                mac_address: self.port_mac(port),
                tx_bytes: 0_u64,
                rx_bytes: 0_u64,
                in_errors: 0_u64,
                out_errors: 0_u64,
                in_discards: 0_u64,
                out_discards: 0_u64,
                in_packets: 0_u64,
                out_packets: 0_u64,
                in_multicast_pkt: 0_u64,
                in_broadcast_pkt: 0_u64,
                in_unicast_pkt: 0_u64,
                in_fcs: 0_u64,
                out_collision: 0_u64,
                port_name: port_name(port),
                port_number: (port + 1).to_string(),
                power_consumption: 14_u32,
            }
        )
    }

    fn stack(&self) -> SwitchStack {
        use switch_stack::{StackPolicy, StackRole, StackTopology};
        let role = if self.is_first { StackRole::Commander } else { StackRole::Standby };
        of!(
            self,
            SwitchStack {
                operation: UPDATE,
                stack_id: self.world.sites[self.device.site].floor.as_str(),
                status: Status::Up as i32,
                topology: StackTopology::Ring as i32,
                policy: StackPolicy::OneFragmentUp as i32,
                firmware_version: "10.13.1040",
                vsf_domain_id: 1_u32,
                stack_member_id: if self.is_first { 1_u32 } else { 2 },
                role: role as i32,
            }
        )
    }

    fn port_mac(&self, port: usize) -> String {
        format!("{}{:x}", &self.device.mac[..self.device.mac.len() - 1], port + 1)
    }
}

fn port_name(port: usize) -> String {
    format!("1/1/{}", port + 1)
}
