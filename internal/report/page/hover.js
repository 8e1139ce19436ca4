// Shows the numbers of the column that the pointer is on, or that was tapped.
// Without it they are in the table below each chart.
for (const chart of document.querySelectorAll("figure.chart")) {
  const line = chart.querySelector("[data-line]");
  const show = (event) => {
    const at = event.target.closest("[data-say]");
    if (at) line.textContent = at.dataset.say;
  };
  if (line) {
    line.hidden = false;
    chart.addEventListener("pointerover", show);
    chart.addEventListener("click", show);
  }
}
