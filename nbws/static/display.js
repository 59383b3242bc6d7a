// Draws the figures of plotly, bokeh and vega: what `nbws.display` puts into a page is their data, in an element
// `nbws-display`. Each library is loaded once a page, from the app, however an element came: with the page, by htmx,
// over a socket. `fasthtml.js` loads this when the first one is there.
(() => {
  if (window.nbwsDisplay) return
  const folder = document.currentScript.src.replace(/display\.js.*$/, 'display/')
  const loaded = new Map() // By address
  const load = name => {
    if (!loaded.has(name)) loaded.set(name, new Promise((resolve, reject) => {
      const script = document.createElement('script')
      if (name.startsWith('vega')) script.type = 'module' // Its bundle has names that would be the page's
      script.onload = resolve
      script.onerror = () => {
        loaded.delete(name) // Next time it may be there
        reject(new Error(`${name} did not come`))
      }
      script.src = folder + name
      document.head.append(script)
    }))
    return loaded.get(name)
  }

  // Each draws into a place, perhaps over what it has drawn there, and returns what ends it
  const draw = {
    async plotly(place, { data, layout, frames, config }) {
      await window.Plotly.react(place, data, layout, { responsive: true, ...config })
      if (frames) await window.Plotly.addFrames(place, frames)
      return () => window.Plotly.purge(place)
    },
    async vega(place, spec) {
      const actions = { export: true, source: false, compiled: false, editor: false }
      if (spec.width === 'container') place.style.width = '100%' // vega-embed makes it as wide as what is in it
      const { view, finalize } = await window.vegaEmbed(place, spec, { actions })
      return () => {
        finalize()
        view.finalize()
      }
    },
    async bokeh(place, item) {
      const views = await window.Bokeh.embed.embed_item(item, place)
      return () => {
        for (const view of views) view.model.document?.clear()
        views.clear()
      }
    },
  }

  const parsed = text => {
    try { return JSON.parse(text) } catch (error) {
      if (document.readyState === 'loading') return null // The rest of it is still to come, and is noticed then
      throw error
    }
  }

  class Drawing {
    #element; #place = null; #shown = null; #end = () => {}; #turn = Promise.resolve(); #gone = false
    constructor(element) {
      this.#element = element
      this.watcher = new MutationObserver(() => this.update())
      this.watcher.observe(element, { childList: true, attributes: true, attributeFilter: ['data-files', 'data-draw'] })
    }
    get #source() { return this.#element.querySelector(':scope > script[type="application/json"]') }
    // What is drawn now, again where the data has changed: a morph changes it in place. One after the other; of several
    // changes the last one counts
    update() {
      this.#turn = this.#turn.then(() => this.#update()).catch(error => this.#fail(error))
      return this.#turn
    }
    async #update() {
      const source = this.#source
      if (this.#gone || !source) return
      this.watcher.observe(source, { childList: true, characterData: true, subtree: true })
      const text = source.textContent, spec = parsed(text)
      const inPlace = this.#place && this.#place.parentNode === this.#element
      if (!spec || (text === this.#shown && inPlace)) return
      for (const name of this.#element.dataset.files.split(' ')) await load(name)
      if (this.#gone) return
      const how = this.#element.dataset.draw
      if (!inPlace || how !== 'plotly') this.#stop()
      if (!this.#place) this.#begin()
      this.#shown = text
      this.#end = await draw[how](this.#place, spec)
      if (this.#gone) this.#stop()
    }
    #begin() { // A place that a copy of this element brought with it is only a picture of one
      for (const old of this.#element.querySelectorAll(':scope > [data-nbws-drawn]')) old.remove()
      this.#place = document.createElement('div')
      this.#place.dataset.nbwsDrawn = ''
      this.#element.append(this.#place)
    }
    #stop() {
      const end = this.#end
      this.#end = () => {}
      if (this.#place) {
        end()
        this.#place.remove()
      }
      this.#place = this.#shown = null
    }
    #fail(error) {
      this.#stop()
      this.#begin()
      this.#place.setAttribute('role', 'alert')
      this.#place.textContent = `The figure cannot be drawn: ${error.message || error}`
      console.error(error)
    }
    end() {
      this.#gone = true
      this.watcher.disconnect()
      this.#turn = this.#turn.then(() => this.#stop())
    }
  }

  const drawings = new WeakMap()
  window.nbwsDisplay = {
    show(element) {
      if (!drawings.has(element)) drawings.set(element, new Drawing(element))
      return drawings.get(element).update()
    },
    end(element) {
      drawings.get(element)?.end()
      drawings.delete(element)
    },
  }
})()
