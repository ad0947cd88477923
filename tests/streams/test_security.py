import re
import ssl
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.auth import SASLCredentials, SSLCredentials

from streams import KafkaSettings, SecurityError
from streams.security import PROTOCOLS

LOGIN = {"sasl_username": "segue", "sasl_password": "hunter2"}
KEY_LOGIN = {"ssl_password": "s3cret"}


def settings_of(protocol: str) -> KafkaSettings:
    login = LOGIN if protocol.startswith("SASL") else {}
    return KafkaSettings(security_protocol=protocol, **login)


def test_plain_settings_carry_no_credentials():
    settings = KafkaSettings(bootstrap_servers="a:1, b:2")
    assert settings.for_aiokafka()["bootstrap_servers"] == ["a:1", "b:2"]
    assert settings.for_aiokafka()["security_protocol"] == "PLAINTEXT"
    assert settings.for_faust()["broker"] == "kafka://a:1;kafka://b:2"
    assert settings.for_faust()["broker_credentials"] is None


def test_secrets_are_never_shown():
    settings = KafkaSettings(security_protocol="SASL_SSL", **LOGIN, **KEY_LOGIN)
    assert "hunter2" not in repr(settings)
    assert "s3cret" not in repr(settings)
    assert "hunter2" not in repr(settings.for_faust())


def test_sasl_over_tls_reaches_every_client():
    settings = KafkaSettings(security_protocol="SASL_SSL", **LOGIN)
    for arguments in (settings.for_aiokafka(), settings.for_admin()):
        assert arguments["security_protocol"] == "SASL_SSL"
        assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
        assert arguments["sasl_plain_username"] == "segue"
        assert arguments["sasl_plain_password"] == LOGIN["sasl_password"]
        assert isinstance(arguments["ssl_context"], ssl.SSLContext)
    credentials = settings.for_faust()["broker_credentials"]
    assert isinstance(credentials, SASLCredentials)
    assert (credentials.username, credentials.password) == ("segue", "hunter2")
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert credentials.protocol.value == "SASL_SSL"


def test_sasl_without_tls_reaches_faust_without_tls():
    credentials = settings_of("SASL_PLAINTEXT").for_faust()["broker_credentials"]
    assert credentials.protocol.value == "SASL_PLAINTEXT"


def test_tls_verifies_the_broker_by_default():
    context = settings_of("SSL").ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert isinstance(settings_of("SSL").for_faust()["broker_credentials"], SSLCredentials)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_aiokafka_accepts_the_settings(protocol: str):
    arguments = settings_of(protocol).for_aiokafka()
    consumer = AIOKafkaConsumer("topic", **arguments)
    producer = AIOKafkaProducer(**arguments)
    await consumer.stop()
    await producer.stop()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"bootstrap_servers": ""}, "bootstrap_servers"),
        ({"bootstrap_servers": "localhost"}, "bootstrap_servers"),
        ({"security_protocol": "TLS"}, "security_protocol"),
        ({"security_protocol": "SASL_SSL"}, "sasl_username"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI", **LOGIN}, "sasl_mechanism"),
        ({"sasl_username": "segue", "sasl_password": "x"}, "PLAINTEXT"),
        ({"ssl_cafile": "ca.pem"}, "ssl_cafile"),
    ],
)
def test_contradicting_settings_are_refused_by_name(settings: dict[str, str], named: str):
    with pytest.raises(SecurityError, match=named):
        KafkaSettings(**settings)


def test_a_missing_or_unreadable_certificate_is_named(tmp_path):
    missing = KafkaSettings(security_protocol="SSL", ssl_cafile=str(tmp_path / "none.pem"))
    with pytest.raises(SecurityError, match=r"ssl_cafile.*none\.pem"):
        missing.ssl_context()
    (tmp_path / "empty.pem").write_text("not a certificate")
    unreadable = KafkaSettings(security_protocol="SSL", ssl_cafile=str(tmp_path / "empty.pem"))
    with pytest.raises(SecurityError, match="PEM"):
        unreadable.ssl_context()


def test_every_consumer_reads_committed_records_only():
    """One place configures them all; a producer knows no isolation."""
    assert KafkaSettings().for_consumer()["isolation_level"] == "read_committed"
    assert "isolation_level" not in KafkaSettings().for_aiokafka()
    root = Path(__file__).parents[2]
    made = [
        (path.name, source[found.end() : found.end() + 100])
        for package in ("streams", "agents", "console", "segue", "simulation")
        for path in (root / package).rglob("*.py")
        for source in [path.read_text()]
        for found in re.finditer(r"AIOKafkaConsumer\(", source)
    ]
    assert len(made) >= 5
    assert [name for name, call in made if "for_consumer()" not in call] == []
