# From what `cargo metadata` says to CycloneDX: the crates that are compiled into the binary, and what they need of one another.
# Crates that only build scripts use are not in it.

def purl: "pkg:cargo/\(.name)@\(.version | @uri)";
def uuid: "urn:uuid:\(.[0:8])-\(.[8:12])-5\(.[13:16])-8\(.[17:20])-\(.[20:32])";

(.packages | INDEX(.id)) as $packages
| (.resolve.nodes | INDEX(.id)) as $nodes
| def needs: [$nodes[.].deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg];
  def reach: {seen: {}, next: [.]}
    | until(.next == [];
        (.seen + (.next | map({(.): true}) | add)) as $seen
        | {seen: $seen, next: ([.next[] | needs[]] | unique | map(select($seen[.] | not)))})
    | .seen | keys;
  def licence:
    if .license then [{expression: (.license | gsub("\\s*/\\s*"; " OR "))}] else [{license: {name: "see its file of the licence"}}] end;
  def component: {
    type: "library", "bom-ref": purl, name, version, licenses: licence, purl: purl,
    hashes: ($checksums[0]["\(.name)@\(.version)"] | if . then [{alg: "SHA-256", content: .}] else null end),
    externalReferences: (if .repository then [{type: "vcs", url: .repository}] else null end)
  } | with_entries(select(.value));
  def linked: [
    {type: "library", "bom-ref": "rust-std", name: "rust-std", version: $rustc, licenses: [{expression: "MIT OR Apache-2.0"}]},
    {type: "library", "bom-ref": $libc[0], name: $libc[0], version: $libc[1], licenses: [{expression: $libc[2]}]}
  ];
  (first(.packages[] | select(.name == "vsiflow")) | .id) as $vsiflow
| ($vsiflow | reach) as $all
| {
    bomFormat: "CycloneDX", specVersion: "1.5", serialNumber: ($binary | uuid), version: 1,
    metadata: {
      timestamp: $created,
      component: {
        type: "application", "bom-ref": "pkg:cargo/vsiflow@\($version)", name: "vsiflow", version: $version,
        purl: "pkg:cargo/vsiflow@\($version)", licenses: [{expression: "Apache-2.0"}],
        hashes: [{alg: "SHA-256", content: $binary}],
        properties: [{name: "vsiflow:commit", value: $commit}, {name: "vsiflow:target", value: $target},
          {name: "vsiflow:compiler", value: $rustc}]
      }
    },
    components: ([$all[] | select(. != $vsiflow) | $packages[.] | component] | sort_by(.purl) | . + linked),
    dependencies: ([$all[] | {ref: ($packages[.] | purl), dependsOn: ([needs[] | $packages[.] | purl] | unique)}] | sort_by(.ref))
  }
