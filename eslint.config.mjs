// What `make lint` holds the JavaScript of nbws to: the browser's scripts, and their tests, which Node runs.
import js from '@eslint/js'
import globals from 'globals'

const OURS = ['nbws/static/*.js']
const NPM = ['*.min', 'ws', 'sse', 'surreal', 'css-scope-inline', 'transfer-encoding-chunked']
const THEIRS = NPM.map(name => `nbws/static/${name}.js`)

export default [
  { ignores: THEIRS },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'consistent-return': 'error',
      'eqeqeq': 'error',
      'max-len': ['error', 120],
      'no-control-regex': 'off', // Our own protocol separates by one
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-implicit-globals': 'error',
      'no-shadow': ['error', { builtinGlobals: false }],
      'no-unused-expressions': ['error', { allowShortCircuit: true, allowTernary: true }],
      'no-use-before-define': ['error', { functions: false, variables: false }],
      'no-useless-return': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
      'prefer-rest-params': 'error',
      'radix': 'error',
      'complexity': ['error', 15],
    },
  },
  { // Scripts, not modules: they have to run before the page's own, which a module never does
    files: OURS,
    languageOptions: {
      sourceType: 'script',
      globals: {
        ...globals.browser, htmx: 'readonly', Idiomorph: 'readonly', nbwsLine: 'readonly', nbwsSockets: 'readonly',
      },
    },
  },
  { files: ['nbws/static/ways.js'], rules: { 'no-unused-vars': 'off' } }, // For those that follow it in an output
  { files: ['nbws/static/way-*.js', 'nbws/static/iframes.js'], languageOptions: { globals: { ways: 'readonly' } } },
  { files: ['nbws/static/widget.js'], languageOptions: { sourceType: 'module' } }, // As anywidget's front end wants it
  { files: ['**/*.mjs'], languageOptions: { sourceType: 'module', globals: globals.node } },
]
