// Whoever came by a link from another site is signed in and looks as if he were not: browsers keep
// a strict cookie back on the way. From here they send it.
const onward = document.querySelector("#sign-in [name=next]").value;
const answer = await (await fetch("/review/signed-in")).json();
if (answer.signed_in) location.replace(onward);
