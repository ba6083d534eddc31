// Sets the theme before the first paint: this script stands in the page's head.
try {
  const theme = JSON.parse(localStorage.getItem('cria-settings') ?? '{}').theme;
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // The system's theme it is.
}
