// Tables that are wider or longer than their place say so, as long as there is more to the right or below.
export function hintScrolling(main) {
  const mark = (place) => {
    place.classList.toggle("more", place.scrollWidth - place.clientWidth - place.scrollLeft > 2);
    place.classList.toggle("below", place.scrollHeight - place.clientHeight - place.scrollTop > 2);
  };
  const all = () => main.querySelectorAll(".scroll").forEach(mark);
  new MutationObserver(all).observe(main, { childList: true, subtree: true });
  addEventListener("resize", all);
  // Scrolling does not bubble.
  main.addEventListener("scroll", (event) => event.target.classList?.contains("scroll") && mark(event.target), true);
  main.addEventListener("toggle", all, true);
}
