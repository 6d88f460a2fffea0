//! TLS towards origin servers for the URL modes, which fetch `https://` addresses for players that cannot use a proxy.
//! Certificates are checked against the roots that browsers trust. Not the tunnel's TLS, which looks like a browser's:
//! this one is inside the tunnel.
//!
//! Source: RFC 8446 through rustls, RFC 9110 section 4.3.4.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::flow::{FlowStream, Host};

/// Plaintext that waits for the network, at most.
const MOST_WAITING: usize = 64 * 1024;

/// A stream inside TLS.
pub(super) struct TlsFlow {
    flow: FlowStream,
    tls: ClientConnection,
}

/// The settings of all connections: HTTP/1.1 is what is spoken behind them.
static SETTINGS: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    settings(roots).ok()
});

fn settings(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl TlsFlow {
    /// Shakes hands with the server that `host` names.
    pub(super) async fn connect(flow: FlowStream, host: &Host) -> io::Result<Self> {
        let settings = SETTINGS.clone().ok_or(io::ErrorKind::Unsupported)?;
        Self::connect_with(flow, host, settings).await
    }

    async fn connect_with(flow: FlowStream, host: &Host, settings: Arc<ClientConfig>) -> io::Result<Self> {
        let name = match host {
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
            Host::Name(name) => {
                let bare = name.as_str().trim_end_matches('.').to_owned();
                ServerName::try_from(bare).map_err(|_| io::ErrorKind::InvalidInput)?
            }
        };
        let tls = ClientConnection::new(settings, name).map_err(io::Error::other)?;
        let mut stream = Self { flow, tls };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            self.poll_write_out(cx)?.is_ready();
            if self.tls.is_handshaking() && ready!(self.poll_read_in(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_write_out(cx)
    }

    /// Writes what TLS has for the network.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut out = Blocking { flow: &mut self.flow, cx };
            match self.tls.write_tls(&mut out) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the network once; 0 at its end.
    fn poll_read_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut from = Blocking { flow: &mut self.flow, cx };
        let count = match self.tls.read_tls(&mut from) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if let Err(error) = self.tls.process_new_packets() {
            // The alert that says why, as far as it can be sent at once.
            let _ = self.poll_write_out(cx);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(count))
    }
}

/// A flow as rustls wants it: what would wait is an error, after the waker was left.
struct Blocking<'a, 'w> {
    flow: &'a mut FlowStream,
    cx: &'a mut Context<'w>,
}

impl Read for Blocking<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(into);
        match Pin::new(&mut *self.flow).poll_read(self.cx, &mut buf) {
            Poll::Ready(Ok(())) => Ok(buf.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Blocking<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.flow).poll_write(self.cx, data) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsFlow {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // Answers of TLS itself, such as to a key update, leave by the way.
            if let Poll::Ready(Err(error)) = this.poll_write_out(cx) {
                return Poll::Ready(Err(error));
            }
            match this.tls.reader().read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Cut off without a farewell: nobody knows whether that was all.
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(this.poll_read_in(cx))?;
        }
    }
}

impl AsyncWrite for TlsFlow {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        let part = data.get(..data.len().min(MOST_WAITING)).unwrap_or_default();
        let written = this.tls.writer().write(part)?;
        if let Poll::Ready(Err(error)) = this.poll_write_out(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.flow).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tls.send_close_notify();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.flow).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Echoes over TLS on threads of its own; gives the roots that trust it.
    fn server(name: &str) -> (std::net::SocketAddr, RootCertStore) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = CertificateDer::from(made.cert.der().to_vec());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut tls =
                    rustls::StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
                let mut piece = [0; 8192];
                while let Ok(count) = tls.read(&mut piece)
                    && count > 0
                    && tls.write_all(&piece[..count]).is_ok()
                {}
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        (address, roots)
    }

    #[tokio::test]
    async fn data_passes_and_only_the_right_name_is_believed() {
        let (address, roots) = server("origin.test");
        let connect = async |name: &str, roots: RootCertStore| {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let flow = FlowStream::Other(Box::new(stream));
            TlsFlow::connect_with(flow, &name.parse().unwrap(), settings(roots).unwrap()).await
        };
        let stream = connect("origin.test", roots.clone()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        assert!(received == expected);
        for (name, roots) in [("other.test", roots), ("origin.test", RootCertStore::empty())] {
            let error = connect(name, roots).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
        }
    }
}
