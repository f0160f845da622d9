/* bands.glsl - the order in which workgroups take the tiles of a matrix.
 *
 * Neighbours go down a band of eight rows of tiles, then along it, so that those that run together
 * share lines of both factors in the caches.
 */

/* Row and column of tile number id, of so many rows and columns of tiles. */
uvec2 tile_in_bands(uint id, uvec2 tiles)
{
    const uint band = id / (8u * tiles.y) * 8u, height = min(tiles.x - band, 8u);
    const uint within = id % (8u * tiles.y);

    return uvec2(band + within % height, within / height);
}
