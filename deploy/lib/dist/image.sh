# shellcheck shell=bash disable=SC2154 # what deploy/dist sets
# A container image for all machines, as a folder in the layout of OCI, in one tar. Nothing but files and their hashes: no daemon
# makes it, so that the same bytes go in and come out. Sourced by deploy/dist.

readonly LAYER_TYPE=application/vnd.oci.image.layer.v1.tar+gzip
readonly CONFIG_TYPE=application/vnd.oci.image.config.v1+json
readonly MANIFEST_TYPE=application/vnd.oci.image.manifest.v1+json
readonly INDEX_TYPE=application/vnd.oci.image.index.v1+json
# The user without rights that the image runs as.
readonly IMAGE_USER=65532

# store FILE TYPE FOLDER: moves FILE among the blobs and prints its descriptor.
store() {
  local digest
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  jq -cn --arg type "$2" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$1")" \
    '{mediaType: $type, digest: $digest, size: $size}'
  mv "$1" "$3/oci/blobs/sha256/$digest"
}

# The authorities as Debian's package has them; those that somebody added to this machine stay here.
authorities() {
  install_packages ca-certificates
  find /usr/share/ca-certificates/mozilla -name '*.crt' | sort | xargs cat
}

# layer MACHINE FOLDER FILE: the one layer, as a tar.
layer() {
  local root=$2/$1/image
  install -D -m 755 "$2/$1/vsiflow" "$root/usr/bin/vsiflow"
  ln -s vsiflow "$root/usr/bin/kubectl-vsi"
  mkdir -p "$root/etc/ssl/certs" "$root/var/lib/vsiflow"
  mkdir -m 1777 "$root/tmp"
  chmod 1777 "$root/tmp"
  authorities >"$root/etc/ssl/certs/ca-certificates.crt"
  equal_tar "$root" --exclude=var/lib/vsiflow -cf "$3" etc tmp usr var
  equal_tar "$root" --owner="$IMAGE_USER" --group="$IMAGE_USER" -rf "$3" var/lib/vsiflow
}

# image_of MACHINE FOLDER: the image of one machine; its descriptor is a line of FOLDER/manifests.
image_of() {
  local machine=$1 folder=$2 architecture file=$2/$1/layer layer config manifest plain
  architecture=$(architecture_of "$machine")
  mkdir -p "$folder/oci/blobs/sha256"
  layer "$machine" "$folder" "$file"
  plain=$(sha256sum "$file" | cut -d ' ' -f 1)
  gzip -9n "$file"
  layer=$(store "$file.gz" "$LAYER_TYPE" "$folder")
  image_config "$architecture" "$plain" >"$file.json"
  config=$(store "$file.json" "$CONFIG_TYPE" "$folder")
  jq -cn --arg type "$MANIFEST_TYPE" --argjson config "$config" --argjson layer "$layer" \
    '{schemaVersion: 2, mediaType: $type, config: $config, layers: [$layer]}' >"$file.json"
  manifest=$(store "$file.json" "$MANIFEST_TYPE" "$folder")
  jq -c --arg architecture "$architecture" '. + {platform: {architecture: $architecture, os: "linux"}}' \
    <<<"$manifest" >>"$folder/manifests"
}

# As deploy/Dockerfile has it.
image_config() {
  jq -cn --arg architecture "$1" --arg layer "sha256:$2" --arg user "$IMAGE_USER:$IMAGE_USER" \
    --arg created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)" --arg version "$version" --arg commit "$commit" '{
      created: $created, architecture: $architecture, os: "linux",
      config: {
        User: $user, Entrypoint: ["/usr/bin/vsiflow"],
        Env: ["PATH=/usr/bin", "VSIFLOW_STATE=/var/lib/vsiflow/state"],
        Labels: {
          "org.opencontainers.image.title": "vsiflow", "org.opencontainers.image.version": $version,
          "org.opencontainers.image.revision": $commit, "org.opencontainers.image.licenses": "Apache-2.0",
          "org.opencontainers.image.source": "https://github.com/vsiflow/vsiflow"
        }
      },
      rootfs: {type: "layers", diff_ids: [$layer]}
    }'
}

# image FOLDER OUT: the images of all machines behind one digest.
image() {
  local folder=$1 index name=vsiflow-$version-image
  jq -cs --arg type "$INDEX_TYPE" '{schemaVersion: 2, mediaType: $type, manifests: .}' "$folder/manifests" >"$folder/index"
  index=$(store "$folder/index" "$INDEX_TYPE" "$folder")
  jq -r .digest <<<"$index" >"$2/$name.digest"
  jq -c --arg version "$version" --arg type "$INDEX_TYPE" '{schemaVersion: 2, mediaType: $type,
    manifests: [. + {annotations: {"org.opencontainers.image.ref.name": $version}}]}' <<<"$index" >"$folder/oci/index.json"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$folder/oci/oci-layout"
  equal_tar "$folder/oci" -cf "$2/$name.tar" blobs index.json oci-layout
}
