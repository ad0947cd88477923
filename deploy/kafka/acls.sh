#!/usr/bin/env bash
# Least rights for each role, for Kafka's own authoriser. One principal a role:
#   deploy/kafka/acls.sh BOOTSTRAP [kafka-acls.sh's options, such as --command-config admin.properties]
# Names follow `topics.prefix`, `worker.group` and `trainer.group`; set PREFIX, WORKERS, TRAINERS to yours.
set -euo pipefail
bootstrap=${1:?address of a broker}
shift
prefix=${PREFIX:-segue} workers=${WORKERS:-segue-workers} trainers=${TRAINERS:-segue-trainer}
acls() { "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$bootstrap" "${options[@]}" --add "$@"; }
options=("$@")

may() { # principal, operation (Read, Write, Describe), topics
  local who=$1 what=$2
  shift 2
  for topic in "$@"; do
    acls --allow-principal "User:$who" --operation "$what" --operation Describe --topic "$prefix.$topic"
  done
}
in_group() { acls --allow-principal "User:$1" --operation Read --operation Describe --group "$2"; }

may producer Write events catalogue users requests

may worker Read events catalogue users requests models
may worker Write recommendations examples dead-letters receipts
in_group worker "$workers"

may trainer Read examples models
may trainer Write models dead-letters
in_group trainer "$trainers"

may static Write models

# A console joins no group; it shows the workers' lag.
may console Read events catalogue users models recommendations dead-letters receipts
acls --allow-principal "User:console" --operation Describe --group "$workers"
# Only where it may erase (events, users) and pin (models):
may console Write events users models
