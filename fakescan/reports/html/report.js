"use strict";
// Text from files reaches the page as text nodes and plain attributes only, never as markup.

const MOST_PRINTED = 2000;
const OVERSCAN = 6;
const BINS = 50;
const VERDICTS = ["ai", "ai_edit", "uncertain", "unreadable", "real"];

const find = (id) => document.getElementById(id);
const read = (id) => JSON.parse(find(id).textContent);

const words = read("words");
const rest = read("rest");
const findings = read("findings");
const reasons = Object.keys(words.reasons);

for (const [row, finding] of findings.entries()) {
  finding.row = row;
  const slash = Math.max(finding.path.lastIndexOf("/"), finding.path.lastIndexOf("\\"));
  finding.folder = finding.path.slice(0, Math.max(slash, 0));
  finding.name = finding.path.slice(slash + 1);
  finding.kind = finding.verdict || "unreadable";
  finding.status ??= "ok";
  finding.metadata_status ??= "ok";
  finding.evidence = (finding.evidence ?? []).map(([signal, rule, says, tier, source, location, offset, value]) => (
    { signal, rule, says, tier, source, location, offset, value }
  ));
  if (finding.model) {
    const [place, logit, crops] = finding.model;
    finding.model = { ...rest.models[place], logit, crops };
  }
}

// ---- Text

const number = new Intl.NumberFormat("en").format;
// Characters that would reorder or hide what is read; line breaks and tabs stay.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const printable = (text) => String(text).replace(UNSAFE, "\ufffd");
const onOneLine = (text) => printable(text).replace(/[\n\t]/g, "\ufffd");
const formatScore = (score) => (score === undefined ? "" : score.toFixed(4));
const percent = (share) => `${100 * share}%`;

function formatSize(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  let size = bytes;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return unit ? `${size.toPrecision(3)} ${units[unit]} (${number(bytes)} bytes)` : `${bytes} bytes`;
}

function explain(finding) {
  return finding.reason ? words.reasons[finding.reason] : words.statuses[finding.status];
}

const join = (...parts) => parts.filter(Boolean).join(" ");
const generatorOf = (finding) => join(finding.generator, finding.generator_version);

function cameraOf({ camera_make: make, camera_model: model }) {
  // Canon writes its name into the model too.
  const isRepeated = make && model?.toLowerCase().startsWith(make.split(" ")[0].toLowerCase());
  return isRepeated ? model : join(make, model);
}

function origin(finding) {
  if (finding.generator) return { text: generatorOf(finding), kind: "generator" };
  const camera = cameraOf(finding);
  if (camera) return { text: camera, kind: "camera, by its metadata" };
  return finding.software ? { text: finding.software, kind: "software" } : { text: "", kind: "" };
}

// ---- Elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function placed(made, share) {
  made.style.left = percent(share);
  return made;
}

const mark = () => element("span", { class: "mark", "aria-hidden": "true" });

// ---- What is shown, in which order

const state = { verdicts: new Set(), text: "", folder: "", generator: "", status: "", sort: "worst" };
let sorted = { by: "", findings: [] };
let shown = [];
let active = 0;
let opened = null;

function haystack(finding) {
  finding.haystack ??= [
    finding.path,
    finding.generator,
    finding.prompt,
    finding.hints,
    finding.software,
    finding.camera_make,
    finding.camera_model,
    finding.lens_model,
    finding.credential?.signer,
    finding.credential?.claim_generator,
    finding.sha256,
    explain(finding),
    ...finding.evidence.flatMap((piece) => [piece.rule, piece.source, piece.location, piece.value]),
  ]
    .filter(Boolean)
    .join("\n")
    .toLowerCase();
  return finding.haystack;
}

function isIn(finding, folder) {
  return finding.folder === folder || (finding.folder.startsWith(folder) && "/\\".includes(finding.folder[folder.length]));
}

function matches(finding, wanted) {
  return (
    (!state.verdicts.size || state.verdicts.has(finding.kind)) &&
    (!state.status || finding.status === state.status) &&
    (!state.folder || isIn(finding, state.folder)) &&
    (!state.generator || (finding.generator || "\n") === state.generator) &&
    wanted.every((word) => haystack(finding).includes(word))
  );
}

const byRow = (one, other) => one.row - other.row;

function worstFirst(one, other) {
  return (
    VERDICTS.indexOf(one.kind) - VERDICTS.indexOf(other.kind) ||
    reasons.indexOf(one.reason) - reasons.indexOf(other.reason) ||
    (other.score ?? -1) - (one.score ?? -1) ||
    byRow(one, other)
  );
}

function byKey(key, direction) {
  const value = key === "generator" ? (finding) => origin(finding).text || undefined : (finding) => finding[key];
  const cached = new Map(findings.map((finding) => [finding, value(finding)]));
  return (one, other) => {
    const [a, b] = [cached.get(one), cached.get(other)];
    // What is unknown comes last, whichever way the rest is sorted.
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || byRow(one, other);
    return direction * (a < b ? -1 : a > b ? 1 : 0) || byRow(one, other);
  };
}

function sorter() {
  if (state.sort === "worst") return worstFirst;
  if (state.sort === "scanned") return byRow;
  const [key, direction] = state.sort.split("-");
  return byKey(key, direction === "up" ? 1 : -1);
}

function update() {
  const current = shown[active];
  const wanted = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (sorted.by !== state.sort) sorted = { by: state.sort, findings: [...findings].sort(sorter()) };
  shown = sorted.findings.filter((finding) => matches(finding, wanted));
  active = Math.max(0, shown.indexOf(current));
  const isFiltered = state.verdicts.size || state.text || state.folder || state.generator || state.status;
  find("clear").hidden = !isFiltered;
  find("shown").textContent = isFiltered
    ? `${number(shown.length)} of ${number(findings.length)} files`
    : `${number(findings.length)} files`;
  find("empty").hidden = shown.length > 0;
  find("empty").textContent = findings.length ? "No file matches these filters." : "This scan found no images.";
  grid.setAttribute("aria-rowcount", shown.length + 1);
  rows.style.height = `calc(${shown.length} * var(--row))`;
  for (const header of document.querySelectorAll("[data-sort]")) {
    const isSorted = state.sort.split("-")[0] === header.dataset.sort;
    if (isSorted) header.setAttribute("aria-sort", state.sort.endsWith("-up") ? "ascending" : "descending");
    else header.removeAttribute("aria-sort");
  }
  for (const tile of document.querySelectorAll(".tile")) {
    tile.setAttribute("aria-pressed", state.verdicts.has(tile.dataset.verdict));
  }
  drawHistogram();
  draw(true);
}

// ---- Rows: only those in sight are in the document

const grid = find("grid");
const rows = find("rows");
let drawn = [0, 0];

function rowHeight() {
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
}

function meter(finding) {
  const bar = element("div", { class: "meter", "aria-hidden": "true" }, element("div", { class: "fill" }));
  bar.firstChild.style.width = percent(finding.score);
  for (const threshold of [finding.model?.threshold_real, finding.model?.threshold_ai]) {
    if (typeof threshold === "number") bar.append(placed(element("div", { class: "tick" }), threshold));
  }
  return bar;
}

function cell(name, ...children) {
  return element("div", { role: "gridcell", class: name }, ...children);
}

const line = (text) => element("div", { class: "line" }, onOneLine(text));
const under = (text) => (text ? element("div", { class: "under" }, onOneLine(text)) : null);

function drawRow(finding, place) {
  const picture = rest.thumbnails[finding.row];
  const { text, kind } = origin(finding);
  const format = finding.media_type?.split("/")[1]?.toUpperCase() ?? "";
  const row = element(
    "div",
    {
      role: "row",
      id: `row-${finding.row}`,
      class: `row ${finding.kind}`,
      "aria-rowindex": place + 2,
      "aria-selected": String(place === active),
    },
    cell("picture", picture ? element("img", { src: picture, alt: "" }) : format.slice(0, 5)),
    cell("file", line(finding.name), under(finding.folder)),
    cell("verdict", mark(), words.verdicts[finding.kind]),
    finding.score === undefined
      ? cell("score")
      : cell("score", element("div", { class: "number" }, formatScore(finding.score)), meter(finding)),
    cell("why", line(explain(finding)), under(finding.hints)),
    cell("origin", line(text), under(kind)),
  );
  row.dataset.place = place;
  row.style.transform = `translateY(calc(${place} * var(--row)))`;
  return row;
}

function draw(isChanged = false) {
  const height = rowHeight();
  const above = -rows.getBoundingClientRect().top;
  const count = Math.ceil(innerHeight / height) + 2 * OVERSCAN;
  const first = Math.max(0, Math.min(Math.floor(above / height) - OVERSCAN, shown.length - count));
  const last = Math.min(shown.length, first + count);
  if (!isChanged && drawn[0] === first && drawn[1] === last) return;
  drawn = [first, last];
  rows.replaceChildren(...shown.slice(first, last).map((finding, place) => drawRow(finding, first + place)));
  pointAtActive();
}

function pointAtActive() {
  const finding = shown[active];
  const row = finding && find(`row-${finding.row}`);
  if (row) grid.setAttribute("aria-activedescendant", row.id);
  else grid.removeAttribute("aria-activedescendant");
}

// Scroll as little as shows the active row whole, clear of what sticks above the rows.
function reveal() {
  const height = rowHeight();
  const top = rows.getBoundingClientRect().top + active * height;
  const sticky = rows.previousElementSibling.getBoundingClientRect();
  const covered = innerWidth > 700 ? find("toolbar").offsetHeight + sticky.height : 0;
  if (top < covered) scrollBy(0, top - covered);
  else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
}

function activate(place) {
  if (!shown.length) return;
  active = Math.max(0, Math.min(place, shown.length - 1));
  reveal();
  draw();
  for (const row of rows.children) row.setAttribute("aria-selected", String(Number(row.dataset.place) === active));
  pointAtActive();
  if (opened) openDrawer(shown[active]);
}

// ---- Histogram

// Each model's labels have a row of their own, so that no two stand on top of each other.
function thresholds() {
  const names = [...new Set(rest.models.map((model) => model.name))];
  const lines = new Map();
  for (const model of rest.models) {
    const name = names.length > 1 ? `${model.name}: ` : "";
    const row = names.indexOf(model.name);
    if (typeof model.threshold_real === "number") lines.set(`${name}real ≤ ${model.threshold_real}`, { share: model.threshold_real, row });
    if (typeof model.threshold_ai === "number") lines.set(`${name}AI ≥ ${model.threshold_ai}`, { share: model.threshold_ai, row });
  }
  return lines;
}

function drawHistogram() {
  const bins = Array.from({ length: BINS }, () => Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0])));
  let scored = 0;
  for (const finding of shown) {
    if (finding.score === undefined) continue;
    scored += 1;
    bins[Math.min(BINS - 1, Math.floor(finding.score * BINS))][finding.kind] += 1;
  }
  const heights = bins.map((bin) => VERDICTS.reduce((sum, verdict) => sum + bin[verdict], 0));
  const most = Math.max(1, ...heights);
  const plot = find("plot");
  plot.replaceChildren(
    ...bins.map((bin, place) => {
      const bar = element("div", { class: "bar" });
      bar.title = `${(place / BINS).toFixed(2)} to ${((place + 1) / BINS).toFixed(2)}: ${number(heights[place])}`;
      for (const verdict of VERDICTS) {
        if (!bin[verdict]) continue;
        const part = element("span", { class: verdict });
        part.style.height = percent(bin[verdict] / most);
        bar.append(part);
      }
      return bar;
    }),
  );
  const lines = thresholds();
  plot.style.setProperty("--rows", 1 + Math.max(0, ...[...lines.values()].map((line) => line.row)));
  for (const [label, { share, row }] of lines) {
    const side = share < 0.15 ? " left" : share > 0.85 ? " right" : "";
    const line = placed(element("div", { class: `threshold${side}` }, element("span", {}, label)), share);
    line.style.setProperty("--row", row);
    plot.append(line);
  }
  find("histogram-note").textContent = scored
    ? `${number(scored)} with a score; tallest bar ${number(most)}`
    : "no file here has a score";
  const parts = Array.from({ length: 5 }, (_, fifth) => {
    const sum = heights.slice(fifth * 10, fifth * 10 + 10).reduce((total, height) => total + height, 0);
    return `${number(sum)} from ${fifth / 5} to ${(fifth + 1) / 5}`;
  });
  plot.setAttribute("aria-label", `Histogram of scores: ${parts.join(", ")}. Thresholds: ${[...lines.keys()].join(", ") || "none"}.`);
}

// ---- Drawer

const drawer = find("drawer");

function section(title, ...children) {
  return [element("h3", {}, title), ...children];
}

function list(pairs) {
  return element(
    "dl",
    { class: "facts-list" },
    ...pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value, style]) =>
        element("div", {}, element("dt", {}, name), element("dd", { class: style }, printable(value))),
      ),
  );
}

function block(text) {
  return element("pre", { class: "value", tabindex: "0" }, printable(text));
}

function showEvidence(finding) {
  const pieces = finding.evidence;
  if (!pieces.length) {
    return section("Evidence in the file", element("p", { class: "quiet" }, "None. Missing marks say nothing, either way."));
  }
  return section(
    "Evidence in the file",
    element(
      "ul",
      { class: "evidence" },
      ...pieces.map((piece) =>
        element(
          "li",
          {},
          element(
            "div",
            { class: "claim" },
            element("span", { class: `says ${piece.says}` }, words.says[piece.says]),
            element("span", { class: `tier ${piece.tier}`, title: words.tiers[piece.tier] }, piece.tier),
            piece.source ? element("span", {}, onOneLine(piece.source)) : null,
          ),
          element(
            "div",
            { class: "where" },
            onOneLine(piece.location) + (piece.offset === null ? "" : ` @ ${piece.offset}`) + ` · rule ${piece.rule}`,
          ),
          piece.value ? block(piece.value) : null,
        ),
      ),
    ),
    finding.more_evidence
      ? element("p", { class: "quiet" }, `${number(finding.more_evidence)} more pieces are in the JSON report.`)
      : null,
  );
}

function scale(finding) {
  const made = element("div", { class: "scale", "aria-hidden": "true" });
  const { threshold_real: real, threshold_ai: ai } = finding.model;
  for (const [threshold, label] of [[real, `real ≤ ${real}`], [ai, `AI ≥ ${ai}`]]) {
    if (typeof threshold !== "number") continue;
    const side = threshold < 0.15 ? " start" : threshold > 0.85 ? " end" : "";
    made.append(placed(element("div", { class: `tick${side}` }, element("span", {}, label)), threshold));
  }
  const side = finding.score < 0.08 ? " start" : finding.score > 0.92 ? " end" : "";
  made.append(placed(element("div", { class: `needle${side}` }, element("span", {}, formatScore(finding.score))), finding.score));
  return made;
}

function showModel(finding) {
  const model = finding.model;
  if (!model) return [];
  const crops = model.crops ?? [];
  const members = finding.models ?? [];
  const windows = element(
    "table",
    { class: "windows" },
    element("thead", {}, element("tr", {}, ...["x", "y", "size", "logit"].map((name) => element("th", { scope: "col" }, name)))),
    element(
      "tbody",
      {},
      ...crops.map(([x, y, size, logit]) =>
        element("tr", {}, ...[x, y, size, logit === null ? "none" : logit.toFixed(4)].map((value) => element("td", {}, String(value)))),
      ),
    ),
  );
  return section(
    "What the model saw",
    finding.score === undefined ? null : scale(finding),
    list([
      ["score", formatScore(finding.score)],
      ["wanted false-positive rate", model.max_false_positive_rate],
      [members.length > 1 ? "mean of calibrated logits" : "logit, uncalibrated", model.logit],
      ["model", `${model.name} ${model.version}, ${model.backend} ${model.precision}`],
      ["weights’ SHA-256", members.length > 1 ? null : model.sha256, "code"],
      ...(members.length > 1 ? members : []).map((member) => [
        `${member.name} ${member.version}`,
        `logit ${member.logit}; real ≤ ${member.threshold_real}, AI ≥ ${member.threshold_ai}; SHA-256 ${member.sha256}`,
      ]),
    ]),
    crops.length
      ? element("details", {}, element("summary", {}, `${crops.length} ${crops.length === 1 ? "window" : "windows"} it looked at`), windows)
      : null,
  );
}

// EXIF's orientations as matrices from stored to upright pixels, for a stored picture of w × h.
const UPRIGHT = {
  1: () => [1, 0, 0, 1, 0, 0],
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

function showPictures(finding) {
  const thumbnail = rest.thumbnails[finding.row];
  const overlay = rest.overlays[finding.row];
  const figures = [];
  const crops = finding.model?.crops ?? [];
  if (finding.width && finding.height && (thumbnail || crops.length)) {
    const orientation = finding.orientation ?? 1;
    const [width, height] = orientation > 4 ? [finding.height, finding.width] : [finding.width, finding.height];
    const highest = Math.max(1, ...crops.map(([, , , logit]) => Math.abs(logit)));
    const picture = drawing("svg", {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": crops.length ? `The picture; windows that the model looked at: ${crops.length}` : "The picture",
    });
    if (thumbnail) picture.append(drawing("image", { href: thumbnail, width, height, preserveAspectRatio: "none" }));
    picture.append(
      drawing(
        "g",
        { transform: `matrix(${UPRIGHT[orientation](finding.width, finding.height).join(" ")})` },
        ...crops.map(([x, y, size, logit]) =>
          drawing("rect", {
            x,
            y,
            width: size,
            height: size,
            class: `window ${logit > 0 ? "ai" : "real"}`,
            "fill-opacity": (0.05 + (0.4 * Math.abs(logit)) / highest).toFixed(3),
          }),
        ),
      ),
    );
    const caption = "Windows the model looked at; the stronger the tint, the larger the logit.";
    figures.push(element("figure", {}, picture, crops.length ? element("figcaption", {}, caption) : null));
  }
  if (overlay || finding.overlay) {
    const label = "Where the model looked";
    figures.push(
      element(
        "figure",
        {},
        overlay ? element("img", { src: overlay, alt: label }) : null,
        element(
          "figcaption",
          {},
          `${label}. `,
          finding.overlay ? element("a", { href: finding.overlay, target: "_blank", rel: "noopener noreferrer" }, "Open the overlay") : null,
        ),
      ),
    );
  }
  return figures.length ? section("Picture", element("div", { class: "pictures" }, ...figures)) : [];
}

function showCredential(finding) {
  const credential = finding.credential;
  if (!credential) return [];
  return section(
    "Content credential",
    list([
      ["validation", credential.validation_state],
      ["failures", credential.failure_codes.join(", ")],
      ["signer", credential.signer],
      ["claim generator", credential.claim_generator],
      ["digital source type", credential.digital_source_type],
      ["actions", credential.actions.join(", ")],
      ["trust list of", credential.trust_list_date],
    ]),
  );
}

function showMetadata(finding) {
  return section(
    "Metadata",
    list([
      ["generator", generatorOf(finding)],
      ["digital source type", finding.digital_source_type],
      ["camera", cameraOf(finding)],
      ["lens", finding.lens_model],
      ["taken", finding.date_time_original],
      ["software", finding.software],
      ["GPS position", finding.has_gps ? "yes" : finding.metadata_status === "unread" ? null : "none"],
      ["state of metadata", words.metadata[finding.metadata_status]],
    ]),
  );
}

function showFile(finding) {
  return section(
    "File",
    list([
      ["path", finding.path, "code"],
      ["path, base64", finding.path_base64, "code"],
      ["status", words.statuses[finding.status]],
      ["format", finding.media_type],
      ["pixels", finding.width && `${number(finding.width)} × ${number(finding.height)}, as stored`],
      ["orientation", finding.orientation],
      ["size", finding.size_bytes === undefined ? null : formatSize(finding.size_bytes)],
      ["modified", finding.modified_at],
      ["SHA-256", finding.sha256, "code"],
    ]),
  );
}

function button(label, name, act, attributes = {}) {
  const made = element("button", { type: "button", "aria-label": name, title: name, ...attributes }, label);
  made.addEventListener("click", act);
  return made;
}

// What is above the rows grows when the drawer takes its room; the rows stay where they are.
function inPlace(act) {
  const before = rows.getBoundingClientRect().top;
  act();
  scrollBy(0, rows.getBoundingClientRect().top - before);
}

function openDrawer(finding) {
  const hadFocus = drawer.contains(document.activeElement);
  opened = finding;
  const decider = finding.decided_by === "model" ? "the model’s score" : finding.decided_by;
  drawer.replaceChildren(
    element(
      "div",
      { class: "drawer-bar" },
      element("span", { class: "place" }, `${number(active + 1)} of ${number(shown.length)}`),
      button("↑", "Previous file (k)", () => activate(active - 1)),
      button("↓", "Next file (j)", () => activate(active + 1)),
      button("✕", "Close (Esc)", closeDrawer, { id: "close" }),
    ),
    element("h2", { id: "drawer-title", tabindex: "-1" }, onOneLine(finding.name)),
    finding.folder ? element("p", { class: "folder" }, onOneLine(finding.folder)) : "",
    element(
      "div",
      { class: `judgement ${finding.kind}` },
      element(
        "div",
        { class: "chip" },
        mark(),
        words.verdicts[finding.kind],
        finding.score === undefined ? null : element("span", { class: "number" }, `score ${formatScore(finding.score)}`),
      ),
      element("p", {}, explain(finding)),
      finding.hints ? element("p", {}, printable(finding.hints)) : null,
      decider ? element("p", { class: "quiet" }, `Decided by ${decider}.`) : null,
    ),
    ...[
      ...showEvidence(finding),
      ...showPictures(finding),
      ...showModel(finding),
      ...showCredential(finding),
      ...(finding.prompt ? section("Prompt", block(finding.prompt)) : []),
      ...showMetadata(finding),
      ...showFile(finding),
    ].filter(Boolean),
  );
  for (const scored of drawer.querySelectorAll(".scale")) scored.classList.add(finding.kind);
  drawer.hidden = false;
  drawer.scrollTop = 0;
  inPlace(() => document.body.classList.add("open"));
  // On a narrow screen the drawer covers the page, which then must not take the focus.
  find("page").inert = matchMedia("(max-width: 700px)").matches;
  if (hadFocus) find("drawer-title").focus();
}

function closeDrawer() {
  if (!opened) return;
  opened = null;
  drawer.hidden = true;
  drawer.replaceChildren();
  inPlace(() => document.body.classList.remove("open"));
  find("page").inert = false;
  grid.focus({ preventScroll: true });
  draw();
}

// ---- Filters

function fill(id, counts, name) {
  const options = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
  find(id).append(
    ...options.map(([value, count]) => element("option", { value }, `${onOneLine(name(value))} (${number(count)})`)),
  );
}

function count(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function* foldersOf(finding) {
  for (let end = finding.folder.length; end > 0; end = Math.max(finding.folder.lastIndexOf("/", end - 1), finding.folder.lastIndexOf("\\", end - 1))) {
    yield finding.folder.slice(0, end);
  }
}

function prepareFilters() {
  const folders = count(findings.flatMap((finding) => [...foldersOf(finding)]));
  // A folder that holds every file would filter nothing.
  for (const [folder, held] of folders) if (held === findings.length) folders.delete(folder);
  fill("folder", folders, (folder) => folder);
  fill("generator", count(findings.map((finding) => finding.generator || "\n")), (name) => (name === "\n" ? "None named" : name));
  fill("status", count(findings.map((finding) => finding.status)), (status) => status.replaceAll("_", " "));
  const verdicts = count(findings.map((finding) => finding.kind));
  for (const tile of document.querySelectorAll(".tile")) {
    tile.querySelector(".count").textContent = number(verdicts.get(tile.dataset.verdict) ?? 0);
    tile.addEventListener("click", () => {
      const verdict = tile.dataset.verdict;
      if (!state.verdicts.delete(verdict)) state.verdicts.add(verdict);
      update();
    });
  }
  for (const id of ["text", "folder", "generator", "status", "sort"]) {
    find(id).addEventListener("input", (event) => {
      state[id] = event.target.value;
      update();
    });
  }
  find("clear").addEventListener("click", () => {
    for (const id of ["text", "folder", "generator", "status"]) state[id] = find(id).value = "";
    state.verdicts.clear();
    update();
    find("text").focus();
  });
  for (const header of document.querySelectorAll("[data-sort]")) {
    header.firstElementChild.addEventListener("click", () => {
      const key = header.dataset.sort;
      const both = { score: ["score-down", "score-up"], path: ["path-up"], generator: ["generator-up"], worst: ["worst"] }[key];
      state.sort = both[(both.indexOf(state.sort) + 1) % both.length];
      find("sort").value = state.sort;
      update();
    });
  }
  document.body.classList.toggle("unscored", findings.every((finding) => finding.score === undefined));
  const other = rest.summary.other_files;
  if (other) find("other-files").textContent = other === 1 ? "1 other file is no image" : `${number(other)} other files are no images`;
}

// ---- Keys, scrolling, printing

function openActive() {
  if (!shown.length) return;
  openDrawer(shown[active]);
  find("drawer-title").focus();
  reveal();
  draw(true);
}

function move(step) {
  if (!drawer.contains(document.activeElement)) grid.focus({ preventScroll: true });
  activate(active + step);
}

const PAGE = () => Math.max(1, Math.floor(innerHeight / rowHeight()) - 3);
const MOVES = { j: () => 1, k: () => -1, ArrowDown: () => 1, ArrowUp: () => -1 };
const GRID_MOVES = { PageDown: PAGE, PageUp: () => -PAGE(), Home: () => -active, End: () => shown.length };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = event.target.matches("input, select, textarea");
  const onGrid = event.target === grid || event.target === document.body;
  let act = null;
  if (event.key === "Escape") act = opened ? closeDrawer : inField ? () => grid.focus({ preventScroll: true }) : null;
  else if (event.key === "ArrowDown" && event.target === find("text")) act = () => grid.focus({ preventScroll: true });
  else if (inField) return;
  else if (event.key === "/") act = () => find("text").select();
  else if (event.key === "j" || event.key === "k" || (onGrid && event.key in MOVES)) act = () => move(MOVES[event.key]());
  else if (onGrid && event.key in GRID_MOVES) act = () => move(GRID_MOVES[event.key]());
  else if (onGrid && event.key === "Enter") act = openActive;
  if (!act) return;
  event.preventDefault();
  act();
});

rows.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row || String(getSelection())) return;
  activate(Number(row.dataset.place));
  openActive();
});

let isWaiting = false;
function drawSoon() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    draw();
  });
}
addEventListener("scroll", drawSoon, { passive: true });
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--toolbar", `${find("toolbar").offsetHeight}px`);
  drawSoon();
}).observe(find("page"));

addEventListener("beforeprint", () => {
  const printed = shown.slice(0, MOST_PRINTED);
  rows.replaceChildren(...printed.map(drawRow));
  const left = shown.length - printed.length;
  find("print-note").textContent = left ? `${number(left)} more files are not printed; filter to choose.` : "";
});
addEventListener("afterprint", () => {
  find("print-note").textContent = "";
  draw(true);
});

prepareFilters();
update();
document.documentElement.dataset.ready = "true";
