// Pedestrians, riders, bicycles and motorcycles, painted on upright planes.
#pragma once

#include "data/synthetic_raster.h"
#include "data/synthetic_scene.h"

namespace segrt::data::streets {

struct Clothes {
  Colour top, trousers, skin, hair, bag;
  bool skirt = false, carries = false, hat = false;
};

// One who walks or stands: `stride` in [-1, 1] spreads the legs, `swing` the arms.
struct Pedestrian {
  Vec3 foot;
  double height = 1.75, girth = 1, stride = 0, swing = 0;
  Clothes clothes;
};
void draw_pedestrian(Painter& painter, const Pedestrian& person);

// A two-wheeler, alone or ridden. Seen from the side unless its heading is close to the line of sight.
struct TwoWheeler {
  Vec3 foot;
  Turn heading;
  bool motor = false, ridden = false;
  Colour frame;
  Clothes clothes;
  double pedal = 0;  // [-1, 1]
};
void draw_two_wheeler(Painter& painter, const TwoWheeler& bike);

// A head, neck and torso with arms, on the plane: shared by walkers and riders seen from front or back.
void draw_upper_body(Painter& painter, const Plane& plane, double hip, double height, double girth, double swing,
                     const Clothes& clothes, int label);

}  // namespace segrt::data::streets
