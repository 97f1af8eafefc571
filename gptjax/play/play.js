"use strict";
// What a token says when somebody points at it, or goes to it with the keys: left, right, up, down.
(() => {
  const tip = document.createElement("div");
  tip.id = "play-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let owner = null;
  const hide = () => {
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  };
  const show = (token) => {
    hide();
    // Inside of the views, whose colours it has.
    const home = token.closest(".views");
    if (!home) return;
    if (tip.parentElement !== home) home.append(tip);
    owner = token;
    tip.textContent = token.dataset.tip;
    tip.hidden = false;
    tip.style.left = "0";  // near the edge it would be squeezed, and measured so
    token.setAttribute("aria-describedby", tip.id);
    const at = token.getClientRects()[0], own = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth - own.width - 8;
    const below = at.bottom + 6 + own.height < window.innerHeight;
    tip.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
    tip.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - own.height - 6)}px`;
  };
  const token = (event) => (event.target instanceof Element ? event.target.closest(".views .token") : null);
  document.addEventListener("pointerover", (event) => { const at = token(event); if (at) show(at); else hide(); });
  document.addEventListener("focusin", (event) => { const at = token(event); if (at) show(at); else hide(); });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  const next = (at, key) => {
    if (key === "ArrowRight") return at.nextElementSibling;
    if (key === "ArrowLeft") return at.previousElementSibling;
    if (at.cellIndex === undefined) return null;
    const row = key === "ArrowDown" ? at.parentElement.nextElementSibling : at.parentElement.previousElementSibling;
    return row ? row.cells[at.cellIndex] : null;
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const at = token(event);
    if (!at || !event.key.startsWith("Arrow")) return;
    const other = next(at, event.key);
    if (!other || !other.classList.contains("token")) return;
    event.preventDefault();
    at.tabIndex = -1;
    other.tabIndex = 0;
    other.focus();
  });
})();
