#!/usr/bin/env bash
# Least rights for each role, for Kafka's own authoriser. One principal a role:
#   deploy/kafka/acls.sh BOOTSTRAP [kafka-acls.sh's options, such as --command-config admin.properties]
# Names follow `topics.prefix`, `worker.group`, `trainer.group` and `rekey.group`; set PREFIX, WORKERS,
# TRAINERS, REKEYERS to yours. Topics of other owners (docs/foreign-topics.md), in quotes with spaces:
# IN_PLACE for those that workers read as they are (and PREFIX.impressions, where it is a source), REKEYED for those that `segue rekey` reads.
# ITEMS for topics of items (`item_sources`), which worker, trainer, console and static job read.
# USERS for topics of users (`user_sources`), which `segue rekey` reads; it then writes PREFIX.users.
# SHOWN_LISTS=yes where worker.shown_lists is set: workers then write PREFIX.impressions.
# `segue static build --until`, `segue replay` and `segue topics create` are for an administrator.
set -euo pipefail
bootstrap=${1:?address of a broker}
shift
options=("$@")
prefix=${PREFIX:-segue}
workers=${WORKERS:-segue-workers} trainers=${TRAINERS:-segue-trainer} rekeyers=${REKEYERS:-segue-rekey}
read -ra in_place <<<"${IN_PLACE:-}"
read -ra rekeyed <<<"${REKEYED:-}"
read -ra items <<<"${ITEMS:-}"
read -ra users <<<"${USERS:-}"

acls() { # principal, operation (Read or Write), resources (--topic or --group and a name, each)
  local who=$1 what=$2
  shift 2
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$bootstrap" ${options[@]+"${options[@]}"} \
    --add --allow-principal "User:$who" --operation "$what" --operation Describe "$@"
}
ours() { # names of our topics, without the prefix
  local name
  for name in "$@"; do resources+=(--topic "$prefix.$name"); done
}
theirs() { # names of topics of other owners
  local name
  for name in "$@"; do resources+=(--topic "$name"); done
}

resources=() && ours events impressions catalogue users requests
acls producer Write "${resources[@]}"

resources=(--group "$workers") && ours events catalogue users requests models demand erasures policies rows
theirs ${in_place[@]+"${in_place[@]}"} ${items[@]+"${items[@]}"}
acls worker Read "${resources[@]}"
resources=() && ours recommendations examples demand dead-letters receipts erasures
[[ -z "${SHOWN_LISTS:-}" ]] || ours impressions
acls worker Write "${resources[@]}"

resources=(--group "$trainers") && ours examples models demand catalogue
theirs ${items[@]+"${items[@]}"}
acls trainer Read "${resources[@]}"
resources=() && ours models rows dead-letters
acls trainer Write "${resources[@]}"

resources=() && ours models
acls static Write "${resources[@]}"
if ((${#items[@]})); then
  resources=() && ours catalogue
  theirs "${items[@]}"
  acls static Read "${resources[@]}"
fi

# A console joins no group; it shows the workers' lag, which takes Describe alone.
resources=() && ours events catalogue users models recommendations dead-letters receipts erasures policies rows
theirs ${in_place[@]+"${in_place[@]}"} ${items[@]+"${items[@]}"}
acls console Read "${resources[@]}"
acls console Describe --group "$workers"
# Only where it may erase (events, users), pin (models), change policies, or write records that come over HTTP:
resources=() && ours events impressions catalogue users models policies
acls console Write "${resources[@]}"

if ((${#rekeyed[@]} + ${#users[@]})); then
  resources=(--group "$rekeyers")
  theirs ${rekeyed[@]+"${rekeyed[@]}"} ${users[@]+"${users[@]}"}
  acls rekey Read "${resources[@]}"
  resources=() && ours dead-letters
  ((!${#rekeyed[@]})) || ours events
  ((!${#users[@]})) || ours users
  acls rekey Write "${resources[@]}"
  # An erasure names where each of these topics ends, and which topic it is.
  resources=()
  theirs ${rekeyed[@]+"${rekeyed[@]}"} ${users[@]+"${users[@]}"}
  acls worker Describe "${resources[@]}"
  acls console Describe "${resources[@]}"
fi
