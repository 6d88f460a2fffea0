//! The settings of the server's main file, `psiphond.config`: the one table of them. All names are the reference's
//! but for `StateDirectory`, `SSHRekeyBytes`, `ProbeHoldSeconds` and `WindowMemoryBytes`.

use super::schema::{Key, Kind};
use Kind::{Anything, Flag, Integer, IntegerMap, Text, TextList, TextMap};

/// Declares the constants that have a reader here, and the table of all.
macro_rules! server_keys {
    ($($constant:ident = $key:expr;)* ; $($other:expr;)*) => {
        $(pub(crate) const $constant: Key = $key;)*
        pub(super) const ALL: &[Key] = &[$($constant,)* $($other,)*];
    };
}

server_keys! {
    // Identity and addresses.
    SERVER_IP_ADDRESS = Key::applied("ServerIPAddress", Text);
    HOST_ID = Key::applied("HostID", Text);
    HOST_PROVIDER = Key::applied("HostProvider", Text);
    TUNNEL_PROTOCOL_PORTS = Key::applied("TunnelProtocolPorts", IntegerMap);
    OWN_ENCODED_SERVER_ENTRIES = Key::applied("OwnEncodedServerEntries", TextMap);
    // Where this program keeps what it learns. Default: `psiphond-state` beside the main file.
    STATE_DIRECTORY = Key::applied("StateDirectory", Text);

    // Logging.
    LOG_LEVEL = Key::applied("LogLevel", Text);
    LOG_FORMAT = Key::applied("LogFormat", Text);
    LOG_FILENAME = Key::applied("LogFilename", Text);
    LOG_FILE_CREATE_MODE = Key::applied("LogFileCreateMode", Integer);
    LOAD_MONITOR_PERIOD_SECONDS = Key::applied("LoadMonitorPeriodSeconds", Integer);

    // SSH and obfuscation.
    SSH_PRIVATE_KEY = Key::applied("SSHPrivateKey", Text);
    SSH_SERVER_VERSION = Key::applied("SSHServerVersion", Text);
    SSH_USER_NAME = Key::applied("SSHUserName", Text);
    SSH_PASSWORD = Key::applied("SSHPassword", Text);
    SSH_BEGIN_HANDSHAKE_TIMEOUT = Key::applied("SSHBeginHandshakeTimeoutMilliseconds", Integer);
    SSH_HANDSHAKE_TIMEOUT = Key::applied("SSHHandshakeTimeoutMilliseconds", Integer);
    MAX_CONCURRENT_SSH_HANDSHAKES = Key::applied("MaxConcurrentSSHHandshakes", Integer);
    // Renews keys after so many bytes instead of when the cipher needs it. Default and 0: the cipher's limit.
    SSH_REKEY_BYTES = Key::applied("SSHRekeyBytes", Integer);
    OBFUSCATED_SSH_KEY = Key::applied("ObfuscatedSSHKey", Text);
    SHADOWSOCKS_KEY = Key::applied("ShadowsocksKey", Text);
    MEEK_OBFUSCATED_KEY = Key::applied("MeekObfuscatedKey", Text);
    TUNNEL_PROTOCOL_PASSTHROUGH_ADDRESSES = Key::applied("TunnelProtocolPassthroughAddresses", TextMap);
    LEGACY_PASSTHROUGH = Key::applied("LegacyPassthrough", Flag);

    // Meek.
    MEEK_COOKIE_ENCRYPTION_PRIVATE_KEY = Key::applied("MeekCookieEncryptionPrivateKey", Text);
    MEEK_PROHIBITED_HEADERS = Key::applied("MeekProhibitedHeaders", TextList);
    MEEK_REQUIRED_HEADERS = Key::applied("MeekRequiredHeaders", TextMap);
    MEEK_REQUIRED_HEADERS_NON_STRICT = Key::applied("MeekRequiredHeadersNonStrict", Flag);
    MEEK_PROXY_FORWARDED_FOR_HEADERS = Key::applied("MeekProxyForwardedForHeaders", TextList);
    MEEK_TURN_AROUND_TIMEOUT = Key::applied("MeekTurnAroundTimeoutMilliseconds", Integer);
    MEEK_MAX_SESSION_STALENESS = Key::applied("MeekMaxSessionStalenessMilliseconds", Integer);
    MEEK_IO_TIMEOUT = Key::applied("MeekHTTPClientIOTimeoutMilliseconds", Integer);
    MEEK_FRONTED_IO_TIMEOUT = Key::applied("MeekFrontedHTTPClientIOTimeoutMilliseconds", Integer);
    MEEK_CACHED_RESPONSE_BUFFER_SIZE = Key::applied("MeekCachedResponseBufferSize", Integer);
    MEEK_CACHED_RESPONSE_POOL_BUFFER_SIZE = Key::applied("MeekCachedResponsePoolBufferSize", Integer);
    MEEK_CACHED_RESPONSE_POOL_BUFFER_COUNT = Key::applied("MeekCachedResponsePoolBufferCount", Integer);
    MEEK_CACHED_RESPONSE_POOL_BUFFER_CLIENT_LIMIT = Key::applied("MeekCachedResponsePoolBufferClientLimit", Integer);

    // Anti-probing.
    // How long somebody without the key is kept waiting at most. Default and 0: until they leave.
    PROBE_HOLD_SECONDS = Key::applied("ProbeHoldSeconds", Integer);
    // Memory for windows of channels, all tunnels together.
    WINDOW_MEMORY_BYTES = Key::applied("WindowMemoryBytes", Integer);

    // Egress.
    ALLOW_BOGONS = Key::applied("AllowBogons", Flag);
    UDP_INTERCEPT_UDPGW_SERVER_ADDRESS = Key::applied("UDPInterceptUdpgwServerAddress", Text);
    DNS_RESOLVER_IP_ADDRESS = Key::applied("DNSResolverIPAddress", Text);

    // Data files.
    TRAFFIC_RULES_FILENAME = Key::applied("TrafficRulesFilename", Text);
    OSL_CONFIG_FILENAME = Key::applied("OSLConfigFilename", Text);
    TACTICS_CONFIG_FILENAME = Key::applied("TacticsConfigFilename", Text);

    // Generated, but of no effect in this build.
    DISCOVERY_VALUE_HMAC_KEY = Key::moot("DiscoveryValueHMACKey", Text);
;
    Key::moot("LogFileReopenRetries", Integer);
    Key::moot("SkipPanickingLogWriter", Flag);
    Key::later("LogDNSServerLoadMetrics", Flag);
    Key::later("MetricSocketPath", Text);
    Key::later("LogDestinationPrefix", Text);
    Key::moot("MetricWriterShutdownDelaySeconds", Integer);
    Key::later("DestinationBytesPeriodSeconds", Integer);
    Key::later("PeakUpstreamFailureRateMinimumSampleSize", Integer);
    Key::moot("ProcessProfileOutputDirectory", Text);
    Key::moot("ProcessBlockProfileDurationSeconds", Integer);
    Key::moot("ProcessCPUProfileDurationSeconds", Integer);
    Key::moot("StopEstablishTunnelsEstablishedClientThreshold", Integer);
    Key::moot("PeriodicGarbageCollectionSeconds", Integer);
    Key::later("AccessControlVerificationKeyRing", Anything);

    // Keys of protocols that this build does not run do no harm and need no note: generated files may hold them.
    Key::later("EnableGQUIC", Flag);

    // Anti-probing and meek.
    Key::later("MeekServerCertificate", Text);
    Key::later("MeekServerPrivateKey", Text);
    Key::moot("MeekExtendedTurnAroundTimeoutMilliseconds", Integer);
    Key::moot("MeekSkipExtendedTurnAroundThresholdBytes", Integer);
    Key::later("EnableSteeringIPs", Flag);

    // Data files and what depends on them.
    Key::later("BlocklistFilename", Text);
    Key::later("BlocklistActive", Flag);
    Key::later("ProxyProtocolHeaderMACKeys", TextMap);
    Key::later("PsinetDatabaseFilename", Text);
    Key::later("GeoIPDatabaseFilenames", TextList);
    Key::later("TacticsRequestPublicKey", Text);
    Key::later("TacticsRequestPrivateKey", Text);
    Key::later("TacticsRequestObfuscatedKey", Text);

    // Packet tunnel and host.
    Key::later("RunPacketTunnel", Flag);
    Key::later("PacketTunnelEgressInterface", Text);
    Key::later("PacketTunnelEnableDNSFlowTracking", Flag);
    Key::moot("PacketTunnelDownstreamPacketQueueSize", Integer);
    Key::moot("PacketTunnelSessionIdleExpirySeconds", Integer);
    Key::later("PacketTunnelSudoNetworkConfigCommands", Flag);
    Key::later("RunPacketManipulator", Flag);
    Key::later("IptablesAcceptRateLimitChainName", Text);
    Key::later("IptablesAcceptRateLimitTunnelProtocolRateLimits", Anything);

    // In-proxy and DSL.
    Key::later("MeekServerRunInproxyBroker", Flag);
    Key::later("MeekServerInproxyBrokerOnly", Flag);
    Key::later("InproxyBrokerSessionPrivateKey", Text);
    Key::later("InproxyBrokerObfuscationRootSecret", Text);
    Key::later("InproxyBrokerServerEntrySignaturePublicKey", Text);
    Key::later("InproxyBrokerAllowCommonASNMatching", Flag);
    Key::later("InproxyBrokerAllowBogonWebRTCConnections", Flag);
    Key::moot("InproxyServerSessionPrivateKey", Text);
    Key::moot("InproxyServerObfuscationRootSecret", Text);
    Key::later("DSLRelayServiceAddress", Text);
    Key::later("DSLRelayCACertificatesFilename", Text);
    Key::later("DSLRelayHostCertificateFilename", Text);
    Key::later("DSLRelayHostKeyFilename", Text);
}
