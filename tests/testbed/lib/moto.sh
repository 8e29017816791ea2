# AWS in memory (moto), which checks signatures and permissions as AWS does. Sourced by testbed.

moto_url() { echo "http://127.0.0.1:$(port moto)"; }

# iam ACTION PARAMETER … is one unsigned call; moto only looks at the region and service that the header names.
iam() {
    local form=()
    for field in "Action=$1" Version=2010-05-08 "${@:2}"; do form+=(--data-urlencode "$field"); done
    curl -sf "$(moto_url)/" "${form[@]}" \
        -H 'Authorization: AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none'
}

up_moto() { start_moto; }

# Memory is lost when it stops. Seeded alike each time, it makes the same user with the same keys again, so that what
# env says stays true. From then on every call must be signed.
start_moto() {
    local user=landfall-test answer
    ! alive moto || return 0
    launch moto env -u INITIAL_NO_AUTH_ACTION_COUNT "$(tool moto)/bin/python" \
        "$tests/tools/moto/server.py" -H 127.0.0.1 -p "$(port moto)"
    ready moto curl -sf "$(moto_url)/moto-api/seed?a=$((16#$(secret moto | cut -c1-8)))" -X POST
    {
        iam CreateUser "UserName=$user" &&
            iam PutUserPolicy "UserName=$user" PolicyName=everything \
                'PolicyDocument={"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    } >/dev/null && answer=$(iam CreateAccessKey "UserName=$user") &&
        curl -sf "$(moto_url)/moto-api/reset-auth" -H 'Content-Type: text/plain' -d 0 -o /dev/null || die "moto did not make the user: $DIR/log/moto.log"
    {
        sed -n 's|.*<AccessKeyId>\(.*\)</AccessKeyId>.*|AWS_TEST_ACCESS_KEY_ID=\1|p' <<<"$answer"
        sed -n 's|.*<SecretAccessKey>\(.*\)</SecretAccessKey>.*|AWS_TEST_SECRET_ACCESS_KEY=\1|p' <<<"$answer"
    } >"$DIR/secret/aws"
}

env_moto() {
    echo "AWS_ENDPOINT=$(moto_url)"
    echo AWS_TEST_ACCOUNT=123456789012
    cat "$DIR/secret/aws"
}
