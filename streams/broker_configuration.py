"""How the development broker is configured: Kafka's server.properties and its logging."""

import base64

HOST = "127.0.0.1"
CLUSTER_ID = base64.urlsafe_b64encode(b"segue-dev-broker").decode().rstrip("=")
"""Every development broker has this cluster id, so that foreign storage is told apart."""

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={storage}

# A misspelt topic must fail, not appear.
auto.create.topics.enable=false
# Enough for a record of 8 MiB and its batch's frame: it must arrive to be refused by name.
message.max.bytes=9437184

# One node: nothing to replicate to, no reason to wait for more members.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# The consumer protocol (KIP-848) takes these from the broker: a member that is silent for six
# seconds loses its partitions, and each second members hear what has changed.
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000

# Sized for a heap of 512 MiB.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
"""

LOG4J_PROPERTIES = """\
status=warn
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=STDOUT
appender.stdout.type=Console
appender.stdout.name=STDOUT
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %-5p %m (%c{1})%n
"""
