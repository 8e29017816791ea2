# The story. Sourced by demo, with the environment up; every fact is asked for, and a wrong answer ends it.

ns=team-a
as() {
    local key=KUBECONFIG_${1^^}
    KUBECONFIG=${!key} kubectl -n $ns "${@:2}"
}
admin() { kubectl -n $ns "$@"; }
sql() { psql -qXAt -F ' | ' "$DATABASE_SUPERUSER_URL" -c "$1"; }

# until SECONDS WHAT COMMAND … waits until the command succeeds.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || failed "$what did not come: $(admin get landfall -o wide 2>&1 | tr '\n' ';' | cut -c1-600)"
        sleep 0.3
    done
}
field() { admin get "$1" -o "jsonpath=$2"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }
ready() { field "$1" '{.status.conditions[?(@.type=="Ready")].reason}'; }
stands() { [ "$(ready "$1")" = "$2" ]; }
refused() { ! "$@" >/dev/null 2>"$dir/refused"; }

[ "$(stat -c %a "$dir/env")" = 600 ] || failed "$dir/env, which holds passwords, can be read by others"

say '== 1. Credentials, proved by their provider'
admin create secret generic pdns --from-literal=api_key="$PDNS_API_KEY" >/dev/null
admin create secret generic wrong --from-literal=api_key=not-the-key >/dev/null
sed "s#https://pdns.example.com#$PDNS_URL#" manifests/examples/credential-powerdns.yaml >"$dir/pdns.yaml"
admin apply -f "$dir/pdns.yaml" >/dev/null
sed 's/^  name: pdns/  name: wrong/; s/{name: pdns}/{name: wrong}/' "$dir/pdns.yaml" | admin apply -f - >/dev/null
until_true 30 'a valid credential' is cred/pdns '{.status.conditions[?(@.type=="Valid")].status}' True
until_true 30 'an invalid credential' is cred/wrong '{.status.conditions[?(@.type=="Valid")].reason}' InvalidCredentials
for name in pdns wrong; do
    say "$(field cred/$name '{.metadata.name}: {range .status.conditions[?(@.type=="Valid")]}Valid={.status} {.reason}: {.message}{end}' | cut -c1-150)"
done

# What takes a CA some seconds goes on meanwhile.
domain=shop.$PDNS_ZONE
sed "s/example\.org/$domain/" manifests/examples/domain-managed.yaml | admin apply -f - >/dev/null
sed 's/example-com/example-org/' manifests/examples/record.yaml | admin apply -f - >/dev/null
admin create --dry-run=client -o json -f manifests/examples/certificate-acme.yaml |
    jq --arg domain "$domain" --arg ca "$PEBBLE_DIRECTORY" --rawfile root "$PEBBLE_CA" \
        '.spec.dnsNames = [$domain, "*." + $domain] | .spec.issuer.acme += {server: $ca, caBundle: $root}' |
    admin apply -f - >/dev/null

say '== 2. A plan, a gate, an apply'
admin create secret generic web --from-literal=token="s3cret-$(openssl rand -hex 4)" >/dev/null
as bob apply -f manifests/examples/deployment-web.yaml >/dev/null
until_true 60 'a plan' stands tfd/web ApprovalRequired
first=$(field tfd/web '{.status.plan.digest}')
say "web: $(field tfd/web '{.status.phase}'), $(field tfd/web '{.status.plan.summary.add}') to add, plan ${first:0:19}…"
refused as bob annotate tfd/web landfall.dev/approve="$first" landfall.dev/command-by=bob || failed 'bob could approve'
say "bob approves: $(grep -o '"bob" lacks.*' "$dir/refused" | cut -c1-120)"
refused as bob patch tfd/web --type=merge -p '{"spec":{"approval":"Automatic"}}' || failed 'bob could loosen the gate'
say "bob sets approval: Automatic: $(grep -o '"bob" lacks.*' "$dir/refused" | cut -c1-120)"
KUBECONFIG=$KUBECONFIG_ALICE landfall approve tfd/web -n $ns --digest "$first" | cut -c1-110
until_true 90 'the apply' stands tfd/web Applied
say "Secret web-outputs: $(field secret/web-outputs '{.data}' | jq -c keys), status.outputs: $(field tfd/web '{.status.outputs}' | cut -c1-80)"
say "sealed states: $(sql "SELECT string_agg('serial ' || serial || ' key ' || key_id || ' ' || octet_length(sealed) || ' bytes', ', ' ORDER BY serial) FROM terraform_states")"

say '== 3. A changed spec is another plan'
as bob patch tfd/web --type=merge -p '{"spec":{"variables":{"greeting":"good evening"}}}' >/dev/null
until_true 60 'a new plan' stands tfd/web ApprovalRequired
runs=$(sql 'SELECT count(*) FROM terraform_runs')
as alice annotate tfd/web --overwrite landfall.dev/approve="$first" landfall.dev/command-by=alice >/dev/null
until_true 30 'a stale approval' stands tfd/web ApprovalStale
[ "$(sql 'SELECT count(*) FROM terraform_runs')" = "$runs" ] || failed 'an engine was started on a stale approval'
say "alice sends the old digest: $(ready tfd/web), no engine started"
second=$(field tfd/web '{.status.plan.digest}')
KUBECONFIG=$KUBECONFIG_ALICE landfall approve tfd/web -n $ns --digest "$second" >/dev/null
until_true 90 'the second apply' stands tfd/web Applied

say '== 4. Names: proved, answered, certified'
until_true 60 'the proof of the domain' is orgdomain/example-org '{.status.conditions[?(@.type=="Verified")].status}' True
say "$domain: $(field orgdomain/example-org '{.status.conditions[?(@.type=="Verified")].message}')"
answered() { [ "$(kdig +short "@${PDNS_DNS%:*}" -p "${PDNS_DNS#*:}" "www.$domain" A | sort | xargs)" = '192.0.2.1 192.0.2.2' ]; }
until_true 60 'the record' stands dnsrec/www Ready
answered || failed "the authority does not answer with the record"
say "www.$domain A 192.0.2.1 192.0.2.2: $(field dnsrec/www '{.status.conditions[?(@.type=="Programmed")].message}'), and its authority answers so"
until_true 90 'the certificate' stands lcert/shop Issued
field secret/shop-tls '{.data.tls\.crt}' | base64 -d >"$dir/shop.crt"
curl -fsS --cacert "$PEBBLE_CA" "$PEBBLE_MANAGEMENT/roots/0" >"$dir/root.crt"
for name in "$domain" "any.$domain"; do
    openssl verify -CAfile "$dir/root.crt" -untrusted "$dir/shop.crt" -verify_hostname "$name" "$dir/shop.crt" >/dev/null ||
        failed "openssl does not verify the certificate for $name"
done
say "certificate for $(field lcert/shop '{.status.dnsNames}') by $(field lcert/shop '{.status.issuer}'): openssl verify: OK"
say "calls on record: $(sql "SELECT string_agg(call || ' ' || n, ', ' ORDER BY call) FROM (SELECT call, count(*) AS n FROM intents WHERE call ~ '^(acme|powerdns|certificate)' AND outcome = 'Done' GROUP BY call) c")"

say '== 5. Who did what, from SQL'
sql "SELECT to_char(at, 'HH24:MI:SS'), seq, action, actor || CASE actor_kind WHEN 'field-manager-unverified' THEN ' (unverified)' ELSE '' END
     FROM activity_log WHERE object_name = 'web' AND action ~ '^(plan.started|plan.created|approval|apply.started|apply.succeeded)' ORDER BY seq"
landfall history tfd/web -n $ns >"$dir/history" || failed 'landfall history'
[ "$(grep -c 'approval.given' "$dir/history")" = 2 ] || failed 'landfall history does not tell of two approvals'
say "landfall history tells the same: $(wc -l <"$dir/history") lines"
landfall audit verify || failed 'audit verify'
old=$(sql "SELECT seq FROM activity_log WHERE object_name = 'web' AND action = 'approval.given' ORDER BY seq LIMIT 1")
sql "UPDATE activity_log SET actor = 'mallory' WHERE seq = $old AND object_name = 'web'" >/dev/null
say "the superuser writes mallory into row $old:"
! landfall audit verify >"$dir/verify" || failed 'audit verify did not see the edit'
grep -q "$old" "$dir/verify" || failed "audit verify does not name row $old"
cut -c1-150 "$dir/verify"
sql "UPDATE activity_log SET actor = 'alice' WHERE seq = $old AND object_name = 'web'" >/dev/null

say '== 6. The end'
as alice patch tfd/web --type=merge -p '{"spec":{"deletionPolicy":"Destroy"}}' >/dev/null
as bob delete tfd/web --wait=false >/dev/null
until_true 60 'a destroy plan' is tfd/web '{.status.plan.kind}' Destroy
until_true 60 'the gate' stands tfd/web ApprovalRequired
say "destroy plan: $(field tfd/web '{.status.plan.summary.destroy}') to destroy, waiting"
KUBECONFIG=$KUBECONFIG_ALICE landfall approve tfd/web -n $ns >/dev/null
gone() { ! admin get tfd/web; }
until_true 90 'the end of web' gone
tombstone() { [ "$(sql "SELECT count(*) FROM terraform_deployments WHERE name = 'web' AND deleted_at IS NOT NULL")" = 1 ]; }
until_true 30 'the tombstone' tombstone
say "web is gone; its row is a tombstone, its history has $(sql "SELECT count(*) FROM activity_log WHERE object_name = 'web'") events, the chain is whole:"
landfall audit verify || failed 'audit verify'
