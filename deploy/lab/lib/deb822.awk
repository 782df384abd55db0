# Turns a deb822 source file into lines "options<TAB>uri<TAB>suite<TAB>components".
function flush_paragraph(   i, j, nu, ns, uris, suites, options) {
  if (field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) !~ /^(no|false|0|off)$/) {
    # A key embedded in the file does not fit into one line. Debian's own keyring has the same keys.
    if (field["signed-by"] ~ /BEGIN PGP/) field["signed-by"] = "/usr/share/keyrings/debian-archive-keyring.gpg"
    if (field["signed-by"] != "") options = "signed-by=" field["signed-by"]
    if (field["trusted"] != "") options = options " trusted=" field["trusted"]
    nu = split(field["uris"], uris, " "); ns = split(field["suites"], suites, " ")
    for (i = 1; i <= nu; i++) for (j = 1; j <= ns; j++)
      printf "%s\t%s\t%s\t%s\n", options, uris[i], suites[j], field["components"]
  }
  delete field; name = ""
}
/^#/ { next }
/^[ \t]*$/ { flush_paragraph(); next }
/^[ \t]/ { sub(/^[ \t]+/, ""); field[name] = field[name] " " $0; next }
{ name = tolower(substr($0, 1, index($0, ":") - 1)); value = substr($0, index($0, ":") + 1)
  gsub(/^[ \t]+|[ \t\r]+$/, "", value); field[name] = value }
END { flush_paragraph() }
