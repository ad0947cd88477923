"""How every client reaches Kafka: addresses, TLS and SASL in one frozen value."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
ISOLATION = "read_committed"
"""How every consumer reads transactions: committed records only, up to the last stable offset."""
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class SecurityError(ValueError):
    """Settings that no Kafka client could connect with. The message names the setting."""


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """Address of Kafka and credentials; passed unchanged to every client.

    bootstrap_servers:  comma-separated host:port addresses of some brokers.
    security_protocol:  PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    sasl_mechanism:     PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used by the SASL protocols only.
    sasl_username:      user name for SASL.
    sasl_password:      password for SASL; never shown in repr.
    ssl_cafile:         PEM file of the authorities to trust; empty means those of the system.
    ssl_certfile:       PEM file of the client certificate, for mutual TLS; empty means none.
    ssl_keyfile:        PEM file of its private key; empty means it is in ssl_certfile.
    ssl_password:       password of the private key; never shown in repr.
    ssl_check_hostname: refuse a broker whose certificate names another host.
    client_id:          client name in the brokers' logs and quotas.
    request_timeout_ms: timeout of one request, in milliseconds.
    transport:          client with which workers, trainers and rekey read in groups: faust, or
                        librdkafka (extra `librdkafka`). Members of one group use the same one: stop
                        all of them to change it.
    group_protocol:     of librdkafka: consumer (KIP-848, Kafka 4.0 and newer, where the broker sets
                        the session timeout), or classic.

    Raises SecurityError when the settings contradict each other; files are opened on first use.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_password: str = field(default="", repr=False)
    ssl_check_hostname: bool = True
    client_id: str = "segue"
    request_timeout_ms: int = 40_000
    transport: Literal["faust", "librdkafka"] = "faust"
    group_protocol: Literal["consumer", "classic"] = "consumer"

    def __post_init__(self) -> None:
        """Refuse settings that could only fail later, or connect less safely than they look."""
        for address in self.servers:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit():
                raise SecurityError(
                    f"bootstrap_servers: expected host:port,host:port, got {address!r}"
                )
        if not self.servers:
            raise SecurityError("bootstrap_servers: expected at least one host:port, got none")
        if self.security_protocol not in PROTOCOLS:
            raise SecurityError(
                f"security_protocol: expected one of {', '.join(PROTOCOLS)}, "
                f"got {self.security_protocol!r}"
            )
        if self.uses_sasl and self.sasl_mechanism not in MECHANISMS:
            raise SecurityError(
                f"sasl_mechanism: expected one of {', '.join(MECHANISMS)}, "
                f"got {self.sasl_mechanism!r}"
            )
        if self.uses_sasl and not (self.sasl_username and self.sasl_password):
            raise SecurityError(
                f"{self.security_protocol} needs sasl_username and sasl_password; one is empty"
            )
        # The operator who set these believes that they protect the connection.
        if not self.uses_sasl and (self.sasl_username or self.sasl_password):
            raise SecurityError(
                f"sasl_username or sasl_password is set, but security_protocol is "
                f"{self.security_protocol}; use SASL_SSL, or leave them empty"
            )
        if not self.uses_tls and (self.ssl_cafile or self.ssl_certfile):
            raise SecurityError(
                f"ssl_cafile or ssl_certfile is set, but security_protocol is "
                f"{self.security_protocol}; use SSL or SASL_SSL, or leave them empty"
            )

    @property
    def servers(self) -> list[str]:
        """The bootstrap addresses, one host:port each."""
        return [part.strip() for part in self.bootstrap_servers.split(",") if part.strip()]

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether we log in by name and password."""
        return self.security_protocol.startswith("SASL_")

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, or None without TLS. Raises SecurityError for unusable files."""
        if not self.uses_tls:
            return None
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                raise SecurityError(f"{name}: no such file: {path}")
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
            context.check_hostname = self.ssl_check_hostname
            if self.ssl_certfile:
                # A callable, so that OpenSSL never asks on the terminal of a service.
                context.load_cert_chain(
                    self.ssl_certfile, self.ssl_keyfile or None, lambda: self.ssl_password
                )
        except ssl.SSLError as error:
            raise SecurityError(
                f"ssl_cafile, ssl_certfile or ssl_keyfile cannot be read as PEM: {error}"
            ) from error
        return context

    def for_aiokafka(self) -> dict[str, Any]:
        """Return the keyword arguments of AIOKafkaProducer."""
        return {"bootstrap_servers": self.servers, **self._common()}

    def for_consumer(self) -> dict[str, Any]:
        """Return the keyword arguments of AIOKafkaConsumer.

        Consumers read committed transactions only, and the last stable offset is the end: an
        aborted record never happened, and an open transaction may still be aborted.
        """
        return {**self.for_aiokafka(), "isolation_level": ISOLATION}

    def for_admin(self) -> dict[str, Any]:
        """Return the keyword arguments of kafka-python's KafkaAdminClient."""
        # The library's own default waits without end for a broker that is not there.
        timeout = {"bootstrap_timeout_ms": self.request_timeout_ms}
        return {"bootstrap_servers": self.servers, **self._common(), **timeout}

    def for_faust(self) -> dict[str, Any]:
        """Return the settings of faust.App: broker, broker_credentials, broker_client_id."""
        return {
            "broker": ";".join(f"kafka://{address}" for address in self.servers),
            "broker_credentials": self._faust_credentials(),
            "broker_client_id": self.client_id,
        }

    def for_librdkafka(self) -> dict[str, Any]:
        """Return librdkafka's properties of any client. Raises SecurityError for unusable files."""
        properties: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.servers),
            "client.id": self.client_id,
            "security.protocol": self.security_protocol,
            "socket.timeout.ms": self.request_timeout_ms,
        }
        if self.uses_tls:
            self.ssl_context()  # its messages name the setting; librdkafka's do not
            files = {
                "ssl.ca.location": self.ssl_cafile or "probe",  # where systems keep theirs
                "ssl.certificate.location": self.ssl_certfile,
                "ssl.key.location": self.ssl_keyfile or self.ssl_certfile,
                "ssl.key.password": self.ssl_password,
            }
            properties |= {name: value for name, value in files.items() if value}
            checked = "https" if self.ssl_check_hostname else "none"
            properties["ssl.endpoint.identification.algorithm"] = checked
        if self.uses_sasl:
            properties["sasl.mechanism"] = self.sasl_mechanism
            properties["sasl.username"] = self.sasl_username
            properties["sasl.password"] = self.sasl_password
        return properties

    def _common(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": self.request_timeout_ms,
        }
        if self.uses_tls:
            arguments["ssl_context"] = self.ssl_context()
        if self.uses_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        return arguments

    def _faust_credentials(self) -> Any:
        from faust.auth import SASLCredentials, SSLCredentials  # noqa: PLC0415 slow to import

        if self.uses_sasl:
            return SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                mechanism=self.sasl_mechanism,
                ssl_context=self.ssl_context(),
            )
        return SSLCredentials(context=self.ssl_context()) if self.uses_tls else None
