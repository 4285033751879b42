// What the theme leaves unsaid for screen readers.
addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("summary")) {
    if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Pages below");
  }
  for (const part of document.querySelectorAll("dt dl, dt dd")) part.setAttribute("role", "none");
  for (const button of document.querySelectorAll("button.search-button-field")) button.removeAttribute("aria-label");
});
