# OpenTofu, the mirror of providers, and Terraform where the machine has it. Sourced by testbed.

up_engine() {
    cat >"$DIR/engine.tfrc" <<EOF
disable_checkpoint = true
provider_installation {
  filesystem_mirror {
    path = "$(tool providers)"
  }
}
EOF
    ln -sfn "$(tool opentofu)/tofu" "$DIR/bin/tofu"
}

env_engine() {
    echo "TOFU=$(tool opentofu)/tofu"
    ! have terraform || echo "TERRAFORM=$(command -v terraform)"
    echo "PROVIDER_MIRROR=$(tool providers)"
    echo "ENGINE_CLI_CONFIG=$DIR/engine.tfrc"
}
