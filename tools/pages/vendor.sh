#!/bin/sh
# Refresh assets/: the script and the fonts that every page needs, so that no page asks the network.
# Needs npm. Run it only to take other versions; the files are committed.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch NAME VERSION: unpack a package of the npm registry, and print where it lies
fetch() {
    folder="$work/$(echo "$1" | tr '/@' '__')"
    mkdir -p "$folder"
    (cd "$folder" && npm pack --silent "$1@$2" >/dev/null && tar xzf ./*.tgz)
    echo "$folder/package"
}

mathjax=$(fetch mathjax 3.2.2)
out="$root/assets/mathjax"
rm -rf "$out"
mkdir -p "$out/output/chtml/fonts/woff-v2"
cp "$mathjax/es5/tex-chtml.js" "$mathjax/LICENSE" "$out/"
cp "$mathjax"/es5/output/chtml/fonts/woff-v2/*.woff "$out/output/chtml/fonts/woff-v2/"

out="$root/assets/fonts"
rm -f "$out"/source-* # the icons are made by tools/pages/icons.py
mkdir -p "$out"
# keep PACKAGE VERSION FILE...: copy the subsets named, and the licence
keep() {
    package=$(fetch "@fontsource-variable/$1" "$2")
    cp "$package/LICENSE" "$out/$1.LICENSE"
    name=$1
    shift 2
    for subset in "$@"; do
        cp "$package/files/$name-$subset.woff2" "$out/"
    done
}
keep source-serif-4 5.3.1 latin-wght-normal latin-wght-italic greek-wght-normal
keep source-sans-3 5.3.0 latin-wght-normal latin-wght-italic
keep source-code-pro 5.3.0 latin-wght-normal
du -sh "$root/assets"
