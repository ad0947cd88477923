"""A development broker with a second listener, where clients log in or show certificates."""

from pathlib import Path

from streams.broker import HOST, DevelopmentBroker, free_ports
from streams.distribution import POM

LISTENERS = """
listeners=PLAINTEXT://{host}:{port},{protocol}://{host}:{login},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},{protocol}://{host}:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,{protocol}:{protocol},CONTROLLER:PLAINTEXT
"""


def plain_users(protocol: str, passwords: dict[str, str]) -> str:
    """Properties of a listener at which users log in by SASL PLAIN."""
    users = " ".join(f'user_{name}="{password}"' for name, password in passwords.items())
    return (
        "sasl.enabled.mechanisms=PLAIN\n"
        f"listener.name.{protocol.lower()}.plain.sasl.jaas.config="
        f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};\n"
    )


class LoginBroker(DevelopmentBroker):
    """Its own listener stays open: who comes there has no name.

    login: address of the second listener, once it was started.
    """

    def __init__(self, data_dir: Path, libs: Path, *, protocol: str, properties: str) -> None:
        """protocol: of the second listener. properties: lines of server.properties."""
        super().__init__(data_dir, POM, libs=libs)
        self.login = ""
        self._protocol, self._more = protocol, properties

    def _configure(self, port: int | None) -> str:
        address = super()._configure(port)
        lines = self._properties.read_text().splitlines()
        controller = next(x for x in lines if x.startswith("controller.quorum")).split(":")[-1]
        [login] = free_ports(1)
        self.login = f"{HOST}:{login}"
        listeners = LISTENERS.format(
            host=HOST, port=address.split(":")[1], login=login, controller=controller,
            protocol=self._protocol,
        )  # fmt: skip
        # The last of two lines with the same name holds.
        self._properties.write_text("\n".join(lines) + "\n" + listeners + self._more)
        return address
