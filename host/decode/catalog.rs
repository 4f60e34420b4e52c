//! What New Central is known to stream: each stream's path, the messages it carries and the event
//! types they go by. Facts only, shared by the source (paths), the registry (which message) and the
//! simulator (what to send). Key type: [`Stream`].
//!
//! Names are those of the vendor's client pycentral 2.0a25; `gw-events` and `wids` are not in it
//! (an unreleased version and a third-party client have them). Where `event_type` is `None` no name
//! is published, and none is made up here.

/// One stream of New Central.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Last segment of the path, and the name used in configuration, for example `ap-events`.
    pub name: &'static str,
    /// First segment of the path, for example `network-monitoring`.
    pub service: &'static str,
    /// Second segment of the path, for example `v1alpha1`.
    pub version: &'static str,
    /// Package of its payload messages.
    pub package: &'static str,
    /// What it carries. A stream of one wrapper message names it once per kind of event.
    pub payloads: &'static [Payload],
}

/// A kind of event that a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// The message on the wire, without its package.
    pub message: &'static str,
    /// The CloudEvents `type`, after the prefix `com.hpe.greenlake.`; `None` where it is unknown.
    pub event_type: Option<&'static str>,
    /// Number of the oneof field that this kind of event fills; 0 for a flat message.
    pub case: u32,
}

/// What every known event type begins with.
pub const EVENT_TYPE_PREFIX: &str = "com.hpe.greenlake.";

impl Stream {
    /// Finds a stream by its name.
    pub fn named(name: &str) -> Option<&'static Stream> {
        STREAMS.iter().find(|stream| stream.name == name)
    }

    /// The path below the base URL, without a leading slash.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.service, self.version, self.name)
    }
}

const fn flat(message: &'static str, event_type: &'static str) -> Payload {
    Payload { message, event_type: Some(event_type), case: 0 }
}

const fn case(message: &'static str, case: u32, event_type: Option<&'static str>) -> Payload {
    Payload { message, event_type, case }
}

/// The base URL host of each Central cluster, by the names the vendor's client knows.
pub const CLUSTERS: &[(&str, &str)] = &[
    ("EU-1", "de1.api.central.arubanetworks.com"),
    ("EU-Central2", "de2.api.central.arubanetworks.com"),
    ("EU-Central3", "de3.api.central.arubanetworks.com"),
    ("UK", "gb1.api.central.arubanetworks.com"),
    ("US-1", "us1.api.central.arubanetworks.com"),
    ("US-2", "us2.api.central.arubanetworks.com"),
    ("US-WEST-4", "us4.api.central.arubanetworks.com"),
    ("US-WEST-5", "us5.api.central.arubanetworks.com"),
    ("US-East1", "us6.api.central.arubanetworks.com"),
    ("Canada-1", "ca1.api.central.arubanetworks.com"),
    ("APAC-1", "in1.api.central.arubanetworks.com"),
    ("APAC-EAST1", "jp1.api.central.arubanetworks.com"),
    ("APAC-SOUTH1", "au1.api.central.arubanetworks.com"),
    ("UAE", "ae1.api.central.arubanetworks.com"),
    ("China", "cn1.api.central.arubanetworks.com.cn"),
    ("Internal", "internal.api.central.arubanetworks.com"),
];

/// All streams that have a published schema.
pub const STREAMS: &[Stream] = &[
    Stream {
        name: "ap-events",
        service: "network-monitoring",
        version: "v1alpha1",
        package: "network_monitoring.ap.v1alpha1",
        payloads: AP_PAYLOADS,
    },
    Stream {
        name: "audit-trail-events",
        service: "network-services",
        version: "v1alpha1",
        package: "audittrail",
        payloads: &[flat("AuditTrail", "network-services.v1alpha1.audit-trail.device-monitoring")],
    },
    Stream {
        name: "location",
        service: "network-services",
        version: "v1alpha1",
        package: "network_services.location.v1alpha1",
        payloads: &[
            case(
                "StreamLocationMessage",
                1,
                Some("network-services.v1alpha1.wifi-client-locations.created"),
            ),
            case(
                "StreamLocationMessage",
                2,
                Some("network-services.v1alpha1.asset-tags.last-known-location.created"),
            ),
        ],
    },
    Stream {
        name: "rssi-events",
        service: "network-services",
        version: "v1alpha1",
        package: "network_services.location_analytics.v1alpha1",
        payloads: &[
            case("RssiEvent", 2, Some("network-services.v1alpha1.rssi.raw-rssi")),
            case("RssiEvent", 3, Some("network-services.v1alpha1.rssi.proximity-rssi")),
        ],
    },
    Stream {
        name: "geofence",
        service: "network-services",
        version: "v1alpha1",
        package: "network_services.geofence.v1alpha1",
        // The documentation has asset tags besides, which the vendor's released client does not know.
        payloads: &[case(
            "StreamGeofenceMessage",
            1,
            Some("network-services.v1alpha1.wifi-client-geofence-crossed"),
        )],
    },
    Stream {
        name: "clients-events",
        service: "network-monitoring",
        version: "v1",
        package: "network_monitoring.clients.v1",
        payloads: &[case("StreamClientMessage", 1, None), case("StreamClientMessage", 2, None)],
    },
    Stream {
        name: "switch-events",
        service: "network-monitoring",
        version: "v1",
        package: "network_monitoring.switch.v1",
        payloads: &[
            case("StreamSwitchMessage", 1, None),
            case("StreamSwitchMessage", 2, None),
            case("StreamSwitchMessage", 3, None),
            case("StreamSwitchMessage", 4, None),
            case("StreamSwitchMessage", 5, None),
            case("StreamSwitchMessage", 6, None),
            case("StreamSwitchMessage", 7, None),
            case("StreamSwitchMessage", 8, None),
        ],
    },
    Stream {
        name: "alert-events",
        service: "network-notifications",
        version: "v1",
        package: "network_notifications.alerts.v1",
        payloads: &[case("AlertStreamingMessage", 0, None)],
    },
    Stream {
        name: "gw-events",
        service: "network-monitoring",
        version: "v1",
        package: "network_monitoring.gw.v1",
        payloads: GW_PAYLOADS,
    },
    Stream {
        name: "wids",
        service: "network-services",
        version: "v1alpha1",
        package: "wids",
        payloads: &[
            case(
                "WidsStreamMessage",
                1,
                Some("network-services.v1alpha1.wids-rules.detection.created"),
            ),
            case(
                "WidsStreamMessage",
                2,
                Some("network-services.v1alpha1.wids-signatures.detection.created"),
            ),
        ],
    },
];

const AP_PAYLOADS: &[Payload] = &[
    flat("APInfo", "network-monitoring.v1alpha1.aps.state.device"),
    flat("RadioInfo", "network-monitoring.v1alpha1.aps.state.radio"),
    flat("PortInfo", "network-monitoring.v1alpha1.aps.state.port"),
    flat("VapInfo", "network-monitoring.v1alpha1.aps.state.virtual_access_point"),
    flat("WlanInfo", "network-monitoring.v1alpha1.aps.state.wlan"),
    flat("TunnelInfo", "network-monitoring.v1alpha1.aps.state.tunnel"),
    flat("APSystemStat", "network-monitoring.v1alpha1.aps.stats.device"),
    flat("RadioStat", "network-monitoring.v1alpha1.aps.stats.radio"),
    flat("VapStat", "network-monitoring.v1alpha1.aps.stats.virtual_access_point"),
    flat("PortStat", "network-monitoring.v1alpha1.aps.stats.port"),
    flat("ModemStat", "network-monitoring.v1alpha1.aps.stats.modem"),
    flat("TunnelStat", "network-monitoring.v1alpha1.aps.stats.tunnel"),
    flat("IPProbeStat", "network-monitoring.v1alpha1.aps.stats.ip_probe"),
    flat("RoleStat", "network-monitoring.v1alpha1.aps.stats.user_role"),
    flat("SsidStat", "network-monitoring.v1alpha1.aps.stats.ssid"),
    flat("VlanStat", "network-monitoring.v1alpha1.aps.stats.vlan"),
];

const GW_PAYLOADS: &[Payload] = &[
    case("MonitoringInformation", 1, Some("network-monitoring.v1.gateways.state.device")),
    case("MonitoringInformation", 2, Some("network-monitoring.v1.gateways.state.uplink")),
    case("MonitoringInformation", 3, Some("network-monitoring.v1.gateways.state.vlan")),
    case("MonitoringInformation", 4, Some("network-monitoring.v1.gateways.state.tunnel")),
    case("MonitoringInformation", 5, Some("network-monitoring.v1.gateways.state.interface")),
    case("MonitoringInformation", 6, Some("network-monitoring.v1.gateways.stats.device")),
    case("MonitoringInformation", 7, Some("network-monitoring.v1.gateways.stats.uplink")),
    case("MonitoringInformation", 8, Some("network-monitoring.v1.gateways.stats.uplink_wan")),
    case("MonitoringInformation", 9, Some("network-monitoring.v1.gateways.stats.uplink_ip_probe")),
    case("MonitoringInformation", 10, Some("network-monitoring.v1.gateways.stats.tunnel")),
    case("MonitoringInformation", 11, Some("network-monitoring.v1.gateways.stats.interface")),
];
