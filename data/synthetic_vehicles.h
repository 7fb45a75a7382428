// Cars, vans, trucks, buses and trams as side profiles extruded across their width.
#pragma once

#include <array>
#include <span>

#include "data/synthetic_raster.h"
#include "data/synthetic_scene.h"

namespace segrt::data::streets {

struct VehiclePose {
  Vec3 centre;   // on the ground
  Turn heading;  // of its front: (sine, cosine) in (x, z)

  Vec3 forward() const { return {heading.sine, 0, heading.cosine}; }
  Vec3 right() const { return {heading.cosine, 0, -heading.sine}; }
  Vec3 at(double along, double height, double across) const {
    return centre + forward() * along + kUp * height + right() * across;
  }
};

// A corner of the outline seen from the side, from the rear bumper's underside over the roof to the front's.
// width: relative to the vehicle's; glass: the face from here to the next corner is a window.
struct ProfilePoint {
  double along, height, width;
  bool glass;
};

struct Body {
  std::span<const ProfilePoint> profile;
  double length = 1, height = 1, half_width = 0.9;  // scales of along and height; half the width in metres
  Label label = kCar;
  Colour paint, glass{0.1f, 0.12f, 0.14f};
};

// Paints the faces that the camera sees: across the profile from the rear to the front, then the near side.
void draw_body(Painter& painter, const VehiclePose& pose, const Body& body);

// A rectangle on the near side, on the rear (end -1) or on the front (end 1) of a box-shaped vehicle.
void draw_side_panel(Painter& painter, const VehiclePose& pose, double half_width, double from, double to, double low,
                     double high, int label, Colour colour);
void draw_end_panel(Painter& painter, const VehiclePose& pose, double along, double left, double right, double low,
                    double high, int label, Colour colour);
// Tyres seen from an end, before the body is painted; then rims and side walls, after it.
void draw_treads(Painter& painter, const VehiclePose& pose, double half_width, std::span<const double> axles,
                 double radius, int label);
void draw_wheels(Painter& painter, const VehiclePose& pose, double half_width, std::span<const double> axles,
                 double radius, int label);

bool sees_front(const Camera& camera, const VehiclePose& pose, double front);  // the plane at `front` faces the camera
double near_side(const Camera& camera, const VehiclePose& pose);               // 1: right side, -1: left

void draw_car(Painter& painter, const VehiclePose& pose, int kind, double scale, Colour paint);
void draw_truck(Painter& painter, const VehiclePose& pose, double cargo, Colour cab, Colour box, int kind);
void draw_bus(Painter& painter, const VehiclePose& pose, double length, Colour paint, Colour band);
void draw_tram(Painter& painter, const VehiclePose& pose, int cars, Colour paint, Colour band);

}  // namespace segrt::data::streets
