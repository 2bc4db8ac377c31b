// What a page does by itself: it fetches itself again, and scrolls through slices.
// Without it everything works, by links and buttons.
"use strict";

// A part marked data-refresh-s is fetched again, unless somebody is using it just then.
function inUse(part) {
  const at = document.activeElement;
  if (at && part.contains(at) && at !== part) return true;
  return String(window.getSelection() || "") !== "";
}

async function refresh(part) {
  if (document.hidden || inUse(part)) return;
  const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.id));
  try {
    const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
    if (!fresh || inUse(part)) return;
    for (const one of fresh.querySelectorAll("details")) if (open.has(one.id)) one.open = true;
    part.replaceChildren(...fresh.childNodes);
    part.removeAttribute("data-stale");
  } catch {
    if (part.hasAttribute("data-stale")) return;
    part.setAttribute("data-stale", "");
    const note = document.createElement("p");
    note.className = "note bad";
    note.setAttribute("role", "alert");
    note.textContent = "The node's pages do not answer: what is below is old.";
    part.prepend(note);
  }
}

for (const part of document.querySelectorAll("[data-refresh-s]")) {
  setInterval(refresh, 1000 * Number(part.dataset.refreshS), part);
}

// The slider over slices: the form's own field, whose picture follows at once.
function steer(viewer) {
  const picture = viewer.querySelector("img");
  const slider = viewer.querySelector("input[type=range]");
  const place = viewer.querySelector("[data-place]");
  const overlay = viewer.querySelector("input[name=overlay]");
  const last = Number(slider.max);
  const address = (slice) =>
    viewer.dataset.slices.replace("SLICE", String(slice)) + (overlay && !overlay.checked ? "&overlay=0" : "");
  const ahead = (slice) => {
    if (slice >= 1 && slice <= last) new Image().src = address(slice);
  };
  const show = () => {
    const slice = Number(slider.value);
    picture.src = address(slice);
    picture.alt = `Slice ${slice} of ${last}`;
    place.textContent = `${slice} of ${last}`;
    slider.setAttribute("aria-valuetext", `slice ${slice} of ${last}`);
  };
  picture.addEventListener("load", () => {
    ahead(Number(slider.value) + 1);
    ahead(Number(slider.value) - 1);
  });
  slider.addEventListener("input", show);
  if (overlay) overlay.addEventListener("change", show);
  for (const link of viewer.querySelectorAll("a[data-step]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      slider.value = String(Number(slider.value) + Number(link.dataset.step));
      show();
    });
  }
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    slider.value = String(Number(slider.value) + Math.sign(event.deltaY));
    show();
  }, { passive: false });
}

for (const viewer of document.querySelectorAll("[data-slices]")) steer(viewer);

// A part marked data-later takes the node seconds: it is fetched when the page is there.
async function later(part) {
  const answer = await fetch(part.dataset.later, { headers: { "X-Refresh": "1" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
  if (!fresh || part.contains(document.activeElement)) return;
  part.replaceChildren(...fresh.childNodes);
  for (const viewer of part.querySelectorAll("[data-slices]")) steer(viewer);
}

for (const part of document.querySelectorAll("[data-later]")) later(part).catch(() => {});
