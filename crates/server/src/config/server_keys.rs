//! The settings of the server's main file, `psiphond.config`: the one table of them. All names are the reference's
//! but for `ControlSocket`, `LoadLimits`, `LogRotateKeep`, `LogRotateMegabytes`, `MetricsAddress`, `MetricsCountries`,
//! `PreferIPv6Destinations`, `ProbeHoldSeconds`, `SSHRekeyBytes`, `StateDirectory`, `UnlimitedUDP` and `WindowMemoryBytes`.

use super::schema::{Key, Kind};
use Kind::{Anything, Flag, Integer, IntegerMap, Object, Text, TextList, TextMap};

/// Declares the constants that have a reader here, and the table of all.
macro_rules! server_keys {
    ($($constant:ident = $key:expr;)* ; $($other:expr;)*) => {
        $(pub(crate) const $constant: Key = $key;)*
        pub(super) const ALL: &[Key] = &[$($constant,)* $($other,)*];
    };
}

pub(crate) const LOAD_CPU_PERCENT: Key = Key::applied("CPUPercent", Integer)
    .about("The processors that this process may use are in use so far; 0 is no limit. Default: 0.");
pub(crate) const LOAD_MEMORY_PERCENT: Key = Key::applied("MemoryPercent", Integer)
    .about("Memory is in use so far, of the host or a tighter control group; 0 is no limit. Default: 95.");
pub(crate) const LOAD_MAX_TUNNELS: Key =
    Key::applied("MaxTunnels", Integer).about("So many tunnels are up. Default: 500000.");
pub(crate) const LOAD_HANDSHAKE_DELAY: Key = Key::applied("HandshakeDelayMilliseconds", Integer)
    .about("A step of a handshake waits so long for a processor; 0 is no limit. Default: 0.");
const LOAD: &[Key] = &[LOAD_CPU_PERCENT, LOAD_MEMORY_PERCENT, LOAD_MAX_TUNNELS, LOAD_HANDSHAKE_DELAY];

server_keys! {
    // Identity and addresses.
    SERVER_IP_ADDRESS = Key::applied("ServerIPAddress", Text).about("Address to bind and advertise.");
    HOST_ID = Key::applied("HostID", Text).about("The name of this host in every line of the log.");
    HOST_PROVIDER = Key::applied("HostProvider", Text).about("The hosting provider in lines of the log.");
    TUNNEL_PROTOCOL_PORTS = Key::applied("TunnelProtocolPorts", IntegerMap).about("The port of each tunnel protocol.");
    OWN_ENCODED_SERVER_ENTRIES = Key::applied("OwnEncodedServerEntries", TextMap).about("This server's own entries in hex, by tag; they also say region, provider and fronts.");
    // Where this program keeps what it learns. Default: `psiphond-state` beside the main file.
    STATE_DIRECTORY = Key::applied("StateDirectory", Text).about("Where this program keeps what it learns. Default: psiphond-state beside this file.");

    // A Unix socket for commands such as reload. Default: control in the state directory.
    CONTROL_SOCKET = Key::applied("ControlSocket", Text).about("The Unix socket that psiphond reload and status use. Default: control in StateDirectory.");

    // Logging.
    LOG_LEVEL = Key::applied("LogLevel", Text).about("What is logged: panic, fatal, error, warn, info or debug.");
    LOG_FORMAT = Key::applied("LogFormat", Text).about("json, protobuf or both. Default: json.");
    LOG_FILENAME = Key::applied("LogFilename", Text).about("The file of the log. Default: standard error.");
    LOG_FILE_CREATE_MODE = Key::applied("LogFileCreateMode", Integer).about("The mode, as a decimal number, to create the log with. Default: it is not created.");
    // A file of its own size, and how many older ones are kept.
    LOG_ROTATE_MEGABYTES = Key::applied("LogRotateMegabytes", Integer).about("Begin another log file after so many MiB; 0 and the default is never.");
    LOG_ROTATE_KEEP = Key::applied("LogRotateKeep", Integer).about("How many older log files are kept. Default: 5.");
    SKIP_PANICKING_LOG_WRITER = Key::applied("SkipPanickingLogWriter", Flag).about("false: stop when the log cannot be written. Default: go on and count what is lost.");
    LOAD_MONITOR_PERIOD_SECONDS = Key::applied("LoadMonitorPeriodSeconds", Integer).about("How often server_load is logged; 0 is never.");

    LOG_DNS_SERVER_LOAD_METRICS = Key::applied("LogDNSServerLoadMetrics", Flag).about("Log the load of each DNS server.");
    PEAK_FAILURE_RATE_SAMPLE = Key::applied("PeakUpstreamFailureRateMinimumSampleSize", Integer).about("Dials or look-ups of a tunnel, fewer of which are no rate of failures. Default: 10.");
    PROFILE_DIRECTORY = Key::applied("ProcessProfileOutputDirectory", Text).about("Where a snapshot of this process goes on SIGUSR2.");
    METRICS_ADDRESS = Key::applied("MetricsAddress", Text).about("Where /metrics, /healthz and /readyz are, such as 127.0.0.1:9464. Default: nowhere.");
    METRICS_COUNTRIES = Key::applied("MetricsCountries", TextList).about("Countries whose tunnels /metrics counts by themselves, such as [\"IR\", \"CN\"].");

    // SSH and obfuscation.
    SSH_PRIVATE_KEY = Key::applied("SSHPrivateKey", Text).about("The RSA host key, in PEM.");
    SSH_SERVER_VERSION = Key::applied("SSHServerVersion", Text).about("How SSH identifies itself. Default: derived from the key.");
    SSH_USER_NAME = Key::applied("SSHUserName", Text).about("The user that clients log in as.");
    SSH_PASSWORD = Key::applied("SSHPassword", Text).about("The password that goes with it.");
    ACCESS_CONTROL_VERIFICATION_KEY_RING = Key::applied("AccessControlVerificationKeyRing", Anything).about("The public keys of those who issue authorizations: an object with Keys.");
    SSH_BEGIN_HANDSHAKE_TIMEOUT = Key::applied("SSHBeginHandshakeTimeoutMilliseconds", Integer).about("How long a client waits for its turn to shake hands. Default: 1000.");
    SSH_HANDSHAKE_TIMEOUT = Key::applied("SSHHandshakeTimeoutMilliseconds", Integer).about("How long shaking hands may take. Default: 30000.");
    MAX_CONCURRENT_SSH_HANDSHAKES = Key::applied("MaxConcurrentSSHHandshakes", Integer).about("How many may do so at a time; 0 is any.");
    // Renews keys after so many bytes instead of when the cipher needs it. Default and 0: the cipher's limit.
    SSH_REKEY_BYTES = Key::applied("SSHRekeyBytes", Integer).about("Change keys after so many bytes in one direction.");
    OBFUSCATED_SSH_KEY = Key::applied("ObfuscatedSSHKey", Text).about("The shared secret of OSSH and QUIC, in hex; needed for all protocols but SSH.");
    SHADOWSOCKS_KEY = Key::applied("ShadowsocksKey", Text).about("The shared secret of SHADOWSOCKS-OSSH.");
    MEEK_OBFUSCATED_KEY = Key::applied("MeekObfuscatedKey", Text).about("The shared secret of meek's cookies and of TLS's proof; needed for both.");
    TUNNEL_PROTOCOL_PASSTHROUGH_ADDRESSES = Key::applied("TunnelProtocolPassthroughAddresses", TextMap).about("The site, host:port, that is shown to whoever is no client, by protocol.");
    LEGACY_PASSTHROUGH = Key::applied("LegacyPassthrough", Flag).about("Also accept the older proof in TLS.");

    // Meek.
    MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY = Key::applied("MeekCookieEncryptionPrivateKey", Text).about("The key that opens meek's cookies; needed for meek.");
    MEEK_PROHIBITED_HEADERS = Key::applied("MeekProhibitedHeaders", TextList).about("Requests with these headers are refused.");
    MEEK_REQUIRED_HEADERS = Key::applied("MeekRequiredHeaders", TextMap).about("Headers that requests must have.");
    MEEK_REQUIRED_HEADERS_NON_STRICT = Key::applied("MeekRequiredHeadersNonStrict", Flag).about("Requests without them are only limited.");
    MEEK_PROXY_FORWARDED_FOR_HEADERS = Key::applied("MeekProxyForwardedForHeaders", TextList).about("Headers that say where a client behind a front is.");
    MEEK_TURN_AROUND_TIMEOUT = Key::applied("MeekTurnAroundTimeoutMilliseconds", Integer).about("How long a response waits for something to carry. Default: 10.");
    MEEK_MAX_SESSION_STALENESS = Key::applied("MeekMaxSessionStalenessMilliseconds", Integer).about("How long a session without requests lives. Default: 45000.");
    MEEK_IO_TIMEOUT = Key::applied("MeekHTTPClientIOTimeoutMilliseconds", Integer).about("How long a connection without input or output lives. Default: 45000.");
    MEEK_FRONTED_IO_TIMEOUT = Key::applied("MeekFrontedHTTPClientIOTimeoutMilliseconds", Integer).about("The same of connections from fronts. Default: 360000.");
    MEEK_CACHED_RESPONSE_BUFFER_SIZE = Key::applied("MeekCachedResponseBufferSize", Integer).about("How much of a response a session keeps to say again. Default: 65536.");
    MEEK_CACHED_RESPONSE_POOL_BUFFER_SIZE = Key::applied("MeekCachedResponsePoolBufferSize", Integer).about("The size of a shared buffer for more. Default: 65536.");
    MEEK_CACHED_RESPONSE_POOL_BUFFER_COUNT = Key::applied("MeekCachedResponsePoolBufferCount", Integer).about("How many there are. Default: 2048.");
    MEEK_CACHED_RESPONSE_POOL_BUFFER_CLIENT_LIMIT = Key::applied("MeekCachedResponsePoolBufferClientLimit", Integer).about("How many one client may have. Default: 32.");

    // Anti-probing.
    // How long somebody without the key is kept waiting at most. Default and 0: until they leave.
    PROBE_HOLD_SECONDS = Key::applied("ProbeHoldSeconds", Integer).about("How long somebody without the key is kept waiting at most; 0 is until they leave.");
    // Memory for windows of channels, all tunnels together.
    WINDOW_MEMORY_BYTES = Key::applied("WindowMemoryBytes", Integer).about("Memory for windows of channels, all tunnels together.");

    // The host's firewall.
    IPTABLES_CHAIN = Key::applied("IptablesAcceptRateLimitChainName", Text).about("The chain to fill with rules that accept and limit. It must exist.");
    IPTABLES_LIMITS = Key::applied("IptablesAcceptRateLimitTunnelProtocolRateLimits", Anything).about("Two numbers of these rules by protocol: seconds and connections of an address, or connections a second and 0.");
    SUDO = Key::applied("PacketTunnelSudoNetworkConfigCommands", Flag).about("Run commands that configure the host with sudo.");

    // When this server takes no more tunnels by itself.
    LOAD_LIMITS = Key::applied("LoadLimits", Object(LOAD)).about("When no new tunnels are taken, beside the signals for it.");

    // Egress.
    ALLOW_BOGONS = Key::applied("AllowBogons", Flag).about("Private and reserved addresses are destinations too. For tests.");
    UNLIMITED_UDP = Key::applied("UnlimitedUDP", Flag).about("Datagrams to those who do not answer have no limit. For networks of your own.");
    UDP_INTERCEPT_UDPGW_SERVER_ADDRESS = Key::applied("UDPInterceptUdpgwServerAddress", Text).about("The address and port that mean the UDP gateway, such as 127.0.0.1:7300.");
    DNS_RESOLVER_IP_ADDRESS = Key::applied("DNSResolverIPAddress", Text).about("The resolver to ask where the system has none.");
    BLOCKLIST_FILENAME = Key::applied("BlocklistFilename", Text).about("The file of suspected destinations, in CSV: destination,source,subject.");
    BLOCKLIST_ACTIVE = Key::applied("BlocklistActive", Flag).about("Refuse them, not only report them.");
    PROXY_PROTOCOL_HEADER_MAC_KEYS = Key::applied("ProxyProtocolHeaderMACKeys", TextMap).about("Keys of headers for destinations, in base64 with their identifiers, by sponsor.");
    DESTINATION_BYTES_PERIOD_SECONDS = Key::applied("DestinationBytesPeriodSeconds", Integer).about("How often bytes by destination are logged; 0 is never. Default: 300.");
    PREFER_IPV6_DESTINATIONS = Key::applied("PreferIPv6Destinations", Flag).about("Try IPv6 addresses of names before IPv4 ones.");

    // Data files.
    TRAFFIC_RULES_FILENAME = Key::applied("TrafficRulesFilename", Text).about("The file of traffic rules. Default: there are none.");
    OSL_CONFIG_FILENAME = Key::applied("OSLConfigFilename", Text).about("The file of obfuscated server lists.");
    PSINET_DATABASE_FILENAME = Key::applied("PsinetDatabaseFilename", Text).about("The file of sponsors, home pages, versions and servers.");
    GEOIP_DATABASE_FILENAMES = Key::applied("GeoIPDatabaseFilenames", TextList).about("Files of MaxMind that say where addresses are.");
    TACTICS_CONFIG_FILENAME = Key::applied("TacticsConfigFilename", Text).about("The file of tactics.");

    // Generated, but of no effect in this build.
    DISCOVERY_VALUE_HMAC_KEY = Key::moot("DiscoveryValueHMACKey", Text).about("The key of the classic strategy for telling clients of servers.");
;
    Key::moot("LogFileReopenRetries", Integer).about("How often opening a rotated log is tried, each millisecond. Default: 25.");
    Key::later("MetricSocketPath", Text).about("The Unix socket for protobuf metrics.");
    Key::later("LogDestinationPrefix", Text).about("Routing prefix of protobuf messages.");
    Key::moot("MetricWriterShutdownDelaySeconds", Integer).about("How long metrics may drain. Default: 10.");
    Key::moot("ProcessBlockProfileDurationSeconds", Integer).about("How long blocks are profiled.");
    Key::moot("ProcessCPUProfileDurationSeconds", Integer).about("How long processors are profiled.");
    Key::moot("StopEstablishTunnelsEstablishedClientThreshold", Integer).about("Dump profiles if limiting starts with few clients. Default: 20.");
    Key::moot("PeriodicGarbageCollectionSeconds", Integer).about("Forced memory release, 0 = off. Default: 120.");

    // Keys of protocols that this build does not run do no harm and need no note: generated files may hold them.
    Key::later("EnableGQUIC", Flag).about("Serve old versions of QUIC, which probes know.");

    // Anti-probing and meek.
    Key::later("MeekServerCertificate", Text).about("The certificate of meek, in PEM. Default: a random one.");
    Key::later("MeekServerPrivateKey", Text).about("The key of that certificate.");
    Key::moot("MeekExtendedTurnAroundTimeoutMilliseconds", Integer).about("How long a response goes on while bytes keep coming. Default: 100.");
    Key::moot("MeekSkipExtendedTurnAroundThresholdBytes", Integer).about("Requests of so many bytes are answered without that. Default: 8192.");
    Key::later("EnableSteeringIPs", Flag).about("Tell clients the addresses that fronts name.");

    // Data files and what depends on them.
    Key::later("TacticsRequestPublicKey", Text).about("Instead of the key in the file of tactics.");
    Key::later("TacticsRequestPrivateKey", Text).about("Instead of the key in the file of tactics.");
    Key::later("TacticsRequestObfuscatedKey", Text).about("Instead of the key in the file of tactics.");

    // Packet tunnel and host.
    Key::later("RunPacketTunnel", Flag).about("Carry whole packets.");
    Key::later("PacketTunnelEgressInterface", Text).about("The network interface that they leave by. Default: that of the default route.");
    Key::later("PacketTunnelEnableDNSFlowTracking", Flag).about("Take answers of DNS back to who asked.");
    Key::moot("PacketTunnelDownstreamPacketQueueSize", Integer).about("Bytes of packets that wait for one client. Default: 524288.");
    Key::moot("PacketTunnelSessionIdleExpirySeconds", Integer).about("After how long an idle client is forgotten. Default: 300.");
    Key::later("RunPacketManipulator", Flag).about("Change the first packet that answers a client.");

    // In-proxy and DSL.
    Key::later("MeekServerRunInproxyBroker", Flag).about("Be a broker on the one meek listener.");
    Key::later("MeekServerInproxyBrokerOnly", Flag).about("Be a broker without tunnels.");
    Key::later("InproxyBrokerSessionPrivateKey", Text).about("The broker's identity.");
    Key::later("InproxyBrokerObfuscationRootSecret", Text).about("What the broker's messages are obfuscated with.");
    Key::later("InproxyBrokerServerEntrySignaturePublicKey", Text).about("The key that signs the entries of servers that clients name.");
    Key::later("InproxyBrokerAllowCommonASNMatching", Flag).about("Pair within one network. For tests.");
    Key::later("InproxyBrokerAllowBogonWebRTCConnections", Flag).about("Take private addresses from clients. For tests.");
    Key::moot("InproxyServerSessionPrivateKey", Text).about("The server's identity towards brokers.");
    Key::moot("InproxyServerObfuscationRootSecret", Text).about("What its messages to brokers are obfuscated with.");
    Key::later("DSLRelayServiceAddress", Text).about("The host:port of the service for server lists.");
    Key::later("DSLRelayCACertificatesFilename", Text).about("The authorities of that service.");
    Key::later("DSLRelayHostCertificateFilename", Text).about("The certificate that is shown to it.");
    Key::later("DSLRelayHostKeyFilename", Text).about("The key of that certificate.");
}
