// The beginning of the script in each output: the ways of way-*.js, for iframes.js.
const ways = {}
