// The random numbers that the engine draws with: torch's generator on a CPU, the Mersenne Twister (Matsumoto and
// Nishimura, 1998), made into doubles of 53 bits. With a request's seed they are that request's own coins.

const SIZE = 624;
const SHIFT = 397;

/** @param {number} seed its low 32 bits count, as in torch */
function seeded(seed) {
  const state = new Uint32Array(SIZE);
  state[0] = seed % 2 ** 32;
  for (let i = 1; i < SIZE; i++) {
    const before = state[i - 1] ^ (state[i - 1] >>> 30);
    state[i] = Math.imul(1812433253, before) + i;
  }
  return state;
}

/** @param {Uint32Array} state */
function twist(state) {
  for (let i = 0; i < SIZE; i++) {
    const mixed = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
    state[i] = state[(i + SHIFT) % SIZE] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
  }
}

/** @param {number} word */
function tempered(word) {
  let y = word;
  y ^= y >>> 11;
  y ^= (y << 7) & 0x9d2c5680;
  y ^= (y << 15) & 0xefc60000;
  return (y ^ (y >>> 18)) >>> 0;
}

/**
 * The first `count` draws of a seed: `torch.rand(1, dtype=torch.float64)` as often.
 * @param {number} seed
 * @param {number} count
 */
export function uniforms(seed, count) {
  const state = seeded(seed);
  let at = SIZE;
  const next = () => {
    if (at === SIZE) {
      twist(state);
      at = 0;
    }
    return tempered(state[at++]);
  };
  return Float64Array.from({ length: count }, () => {
    const high = next() & 0x1fffff; // 21 of its bits and 32 of the next are a double's 53
    return (high * 2 ** 32 + next()) / 2 ** 53;
  });
}
