# shellcheck shell=bash disable=SC2154 # what advisories.sh sets
# Builds the documents as a book and checks its links. Sourced after advisories.sh.

readonly BOOK_VERSION=0.5.4

# Built without its web server and file watcher, which are not needed here.
install_mdbook() {
  [ "$("$tools/bin/mdbook" --version 2>/dev/null)" != "mdbook v$BOOK_VERSION" ] || return 0
  follow cargo install mdbook --version "$BOOK_VERSION" --locked --debug --force --no-default-features --features search \
    --root "$tools"
}

book() {
  local folder code=0
  install_mdbook || return
  folder=$(mktemp -d) || return
  # Warnings fail as well, because readers would see the problems.
  follow run_logged env "PATH=$tools/bin:$PATH" docs/book "$folder" || code=1
  ! grep -E '(WARN|ERROR)' "$work/log" >/dev/null || code=1
  [ "$code" != 0 ] || dead_links "$folder" || code=1
  rm -rf "$folder"
  return "$code"
}

# dead_links FOLDER: prints the links of a book's pages whose file or anchor does not exist. Fails if there is
# one.
dead_links() {
  local page link target file dead=0 links=0
  local -A places=()
  while IFS= read -r page; do
    while IFS= read -r link; do
      places["$page#$link"]=1
    done < <(grep -oE ' id="[^"]*"' "$page" | cut -d '"' -f 2)
    places[$page]=1
  done < <(find "$1" -name '*.html')
  while IFS=$'\t' read -r page link; do
    case $link in
      http:* | https:* | mailto:* | '' | '#') continue ;;
      '#'*) target=$page$link ;;
      *) target=${page%/*}/$link ;;
    esac
    links=$((links + 1))
    file=$(realpath -sm "${target%%#*}")
    case $target in
      *'#'*) [ -n "${places["$file#${target#*#}"]:-}" ] && continue ;;
      *) [ -e "$file" ] && continue ;;
    esac
    say "${page#"$1/"}: no $link"
    dead=$((dead + 1))
  done < <(links_of "$1")
  say "$links links within the book, $dead of them dead"
  [ "$dead" = 0 ] && [ "$links" -gt 100 ]
}

# links_of FOLDER: prints lines of page and link. Skips print.html, in which all pages are joined and links
# differ.
links_of() {
  local page
  find "$1" -name '*.html' ! -name print.html ! -name 404.html ! -name toc.html | while IFS= read -r page; do
    { grep -oE '(href|src)="[^"]*"' "$page" || true; } | cut -d '"' -f 2 | sort -u | sed "s#^#$page\t#"
  done
}
