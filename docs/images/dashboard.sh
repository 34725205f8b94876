#!/usr/bin/env bash
# Makes the images of the dashboard anew, from a real run in headless Chromium. It needs chromium, chromedriver and ImageMagick.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test --locked --test dashboard -- --ignored --exact images::images
for image in docs/images/dashboard-*.png; do
  # Few colours are enough for a page like this, and make the file a third.
  /usr/bin/convert "$image" -colors 200 -define png:compression-level=9 "png8:$image"
done
ls -l docs/images/dashboard-*.png
