// Runs before the page is painted, so that a chosen theme does not flash. Storage may be blocked.
try {
  const theme = localStorage.getItem("textrnn.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The system's theme.
}
